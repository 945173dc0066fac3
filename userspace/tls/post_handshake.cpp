// SPDX-License-Identifier: Apache-2.0
#include "tls/post_handshake.hpp"

#include <algorithm>

namespace culvert::tls {

PostHandshakeEvent PostHandshakeReader::next(ByteView& record, bool is_client) noexcept {
  while (header_have_ < kHeaderBytes) {
    if (record.empty()) return PostHandshakeEvent::None;
    header_[header_have_++] = record.front();
    record = record.subspan(1);
    if (header_have_ == 1 && header_[0] != kKeyUpdate && !(header_[0] == kNewSessionTicket && is_client)) {
      return PostHandshakeEvent::Unexpected;
    }
    if (header_have_ == kHeaderBytes) {
      body_left_ = std::uint32_t{header_[1]} << 16U | std::uint32_t{header_[2]} << 8U | header_[3];
      if (header_[0] == kKeyUpdate && body_left_ != 1) return PostHandshakeEvent::Malformed;
    }
  }
  if (header_[0] == kKeyUpdate) {
    if (record.empty()) return PostHandshakeEvent::None;
    const std::uint8_t request = record.front();
    record = record.subspan(1);
    header_have_ = 0;
    if (request > 1) return PostHandshakeEvent::Malformed;
    // Section 5.1: handshake messages must not span key changes.
    if (!record.empty()) return PostHandshakeEvent::Unexpected;
    return request == 1 ? PostHandshakeEvent::KeyUpdateRequested : PostHandshakeEvent::KeyUpdate;
  }
  const std::size_t skipped = std::min<std::size_t>(body_left_, record.size());
  record = record.subspan(skipped);
  body_left_ -= static_cast<std::uint32_t>(skipped);
  if (body_left_ != 0) return PostHandshakeEvent::None;
  header_have_ = 0;
  return PostHandshakeEvent::SessionTicket;
}

}  // namespace culvert::tls
