// SPDX-License-Identifier: Apache-2.0
// deps: culvert::tls
// The record layer as a peer sees it: arbitrary bytes as records, whole and cut in two, and what we sealed comes back as it was.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.hpp"
#include "tls/aead.hpp"
#include "tls/record_codec.hpp"

namespace {

using namespace culvert;
using namespace culvert::tls;

constexpr std::uint8_t kKey[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr std::uint8_t kIv[12] = {21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};

TrafficKeys keys() {
  TrafficKeys made;
  made.key.assign(kKey);
  made.iv.assign(kIv);
  return made;
}

// Opens records until one is not there or is refused; gives the content of those that opened.
std::vector<std::uint8_t> open_all(Aead& aead, ByteView input) {
  TrafficKeys state = keys();
  std::vector<std::uint8_t> content;
  std::vector<std::uint8_t> out(input.size() + 64);
  for (;;) {
    const OpenedRecord record = open_record(aead, state, input, out.data());
    if (record.status != OpenStatus::Record) return content;
    CV_ASSERT(record.consumed_bytes <= input.size() && record.content_bytes < record.consumed_bytes);
    content.insert(content.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(record.content_bytes));
    input = input.subspan(record.consumed_bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  static const auto kAead = make_aead(Engine::UserEvp, Cipher::Aes128Gcm, kKey);
  CV_ASSERT(kAead != nullptr);
  static_cast<void>(open_all(*kAead, input));

  TrafficKeys state = keys();
  std::vector<std::uint8_t> sealed(sealed_bytes(size));
  CV_ASSERT(seal_records(*kAead, state, 23, input, sealed.data()));
  const std::vector<std::uint8_t> back = open_all(*kAead, sealed);
  CV_ASSERT(std::equal(back.begin(), back.end(), input.begin(), input.end()));

  // One changed byte never opens as something else.
  if (size > 0) {
    sealed[data[0] % sealed.size()] ^= 0x01;
    const std::vector<std::uint8_t> forged = open_all(*kAead, sealed);
    CV_ASSERT(forged.size() < size || std::equal(forged.begin(), forged.end(), input.begin(), input.end()));
  }
  return 0;
}
