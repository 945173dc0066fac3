// SPDX-License-Identifier: Apache-2.0
#include "tls/record_codec.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.hpp"

namespace culvert::tls {
namespace {

using Nonce = std::array<std::uint8_t, kNonceBytes>;

// Section 5.3: the IV, its last eight bytes XORed with the sequence number in network order.
Nonce nonce_of(const TrafficKeys& keys) noexcept {
  Nonce nonce;
  const ByteView iv = keys.iv.view();
  CV_ASSERT(iv.size() == kNonceBytes);
  std::memcpy(nonce.data(), iv.data(), kNonceBytes);
  std::uint64_t tail = 0;
  std::memcpy(&tail, nonce.data() + 4, sizeof(tail));
  tail ^= __builtin_bswap64(keys.sequence);
  std::memcpy(nonce.data() + 4, &tail, sizeof(tail));
  return nonce;
}

}  // namespace

bool seal_records(Aead& aead, TrafficKeys& keys, std::uint8_t type, ByteView data, std::uint8_t* out) noexcept {
  do {
    const ByteView content = data.first(std::min(data.size(), kRecordPlainBytesMax));
    const std::size_t payload = content.size() + 1 + kTagBytes;
    out[0] = kOuterApplicationData;
    out[1] = 3;
    out[2] = 3;
    out[3] = static_cast<std::uint8_t>(payload >> 8U);
    out[4] = static_cast<std::uint8_t>(payload);
    if (!aead.seal(nonce_of(keys).data(), out, content, type, out + kRecordHeaderBytes)) return false;
    ++keys.sequence;
    out += kRecordHeaderBytes + payload;
    data = data.subspan(content.size());
  } while (!data.empty());
  return true;
}

OpenedRecord open_record(Aead& aead, TrafficKeys& keys, ByteView input, std::uint8_t* out) noexcept {
  OpenedRecord record;
  // The header is judged as soon as it is there, so that nobody makes us wait for a record that would be refused anyway.
  if (!input.empty() && input[0] != kOuterApplicationData) {
    record.status = OpenStatus::NotSealed;
    return record;
  }
  if (input.size() < kRecordHeaderBytes) return record;
  const std::size_t payload = std::size_t{input[3]} << 8U | input[4];
  if (payload > kRecordBytesMax - kRecordHeaderBytes || payload < 1 + kTagBytes) {
    record.status = payload < 1 + kTagBytes ? OpenStatus::TooShort : OpenStatus::TooLong;
    return record;
  }
  if (input.size() < kRecordHeaderBytes + payload) return record;

  if (!aead.open(nonce_of(keys).data(), input.data(), input.subspan(kRecordHeaderBytes, payload), out)) {
    record.status = OpenStatus::BadMac;
    return record;
  }
  ++keys.sequence;
  record.consumed_bytes = kRecordHeaderBytes + payload;
  std::size_t size = payload - kTagBytes;
  while (size > 0 && out[size - 1] == 0) --size;
  if (size == 0) {
    record.status = OpenStatus::NoType;
    return record;
  }
  record.status = OpenStatus::Record;
  record.type = out[size - 1];
  record.content_bytes = size - 1;
  return record;
}

}  // namespace culvert::tls
