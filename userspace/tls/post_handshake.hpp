// SPDX-License-Identifier: Apache-2.0
// Reads the handshake messages that may follow a TLS 1.3 handshake (RFC 8446 section 4.6): KeyUpdate and, towards a client,
// NewSessionTicket, which is skipped. Messages may be cut anywhere; twelve bytes of state carry over. Pure.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace culvert::tls {

enum class PostHandshakeEvent : std::uint8_t {
  None,                // everything was consumed; perhaps a message is not complete yet
  SessionTicket,       // one was skipped
  KeyUpdate,           // the peer's next record has the next key
  KeyUpdateRequested,  // likewise, and it wants ours to follow
  Unexpected,          // a message without a place here, or a KeyUpdate that is not the last of its record
  Malformed,           // a KeyUpdate of a wrong length or value
};

class PostHandshakeReader {
 public:
  // Consumes from the front of `record` (the rest of one record's content) up to the end of one message.
  [[nodiscard]] PostHandshakeEvent next(ByteView& record, bool is_client) noexcept;
  // A message has begun and not ended: no other type of record may come now (section 5.1).
  [[nodiscard]] bool is_within_message() const noexcept { return header_have_ != 0; }

 private:
  static constexpr std::uint8_t kNewSessionTicket = 4;
  static constexpr std::uint8_t kKeyUpdate = 24;
  static constexpr std::uint8_t kHeaderBytes = 4;

  std::uint32_t body_left_ = 0;
  std::uint8_t header_[kHeaderBytes] = {};
  std::uint8_t header_have_ = 0;
};

}  // namespace culvert::tls
