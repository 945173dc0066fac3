// SPDX-License-Identifier: Apache-2.0
// Control messages of the direct tunnel: what decodes, encodes to bytes that decode to the same value and no longer than the
// input. The session machines are fed the types on the way: they must end in a state, whatever comes.
// deps: culvert::direct
#include <array>
#include <cstdint>
#include <cstdlib>

#include "direct/messages.hpp"
#include "direct/session.hpp"

namespace {

void require(bool is_true) {
  if (!is_true) std::abort();
}

// Input as a list of messages, each behind a length of two bytes.
void feed_sessions(culvert::ByteReader reader) {
  culvert::direct::ClientSession client;
  culvert::direct::ServerSession server;
  while (reader.ok() && reader.remaining() >= 2) {
    const std::size_t size = reader.u16() % (reader.remaining() + 1);
    const culvert::ByteView record = reader.take(size);
    if (client.can_reuse()) client.sent_open();
    if (const auto message = culvert::direct::decode(record)) {
      (void)client.on_message(*message);
      (void)server.on_message(*message);
    } else {
      (void)client.on_malformed(record);
      (void)server.on_malformed(record);
    }
    if (server.may_answer()) server.sent_accept();
    if (client.may_send_end() && size % 2 == 0) client.sent_end();
    if (server.may_send_end() && size % 3 == 0) server.sent_end();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const culvert::ByteView input(data, size);
  if (const auto message = culvert::direct::decode(input)) {
    std::array<std::uint8_t, culvert::direct::kMessageBytesMax> buffer;
    const culvert::ByteView encoded = culvert::direct::encode(*message, buffer);
    require(!encoded.empty());
    require(encoded.size() <= size);
    const auto again = culvert::direct::decode(encoded);
    require(again.has_value());
    require(*again == *message);
  }
  feed_sessions(culvert::ByteReader(input));
  return 0;
}
