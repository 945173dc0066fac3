// SPDX-License-Identifier: Apache-2.0
// The packets of a connection that is not answered yet: the application's SYN as it was caught, and what is sent into the pod's lo because of it: the
// SYN itself once more, a reset, or "host unreachable". Pure. The SYN is a pod's and may be anything; what is made of it is never longer than
// kFrameBytesMax.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "culvert/abi/syn.h"

namespace culvert::proxy {

inline constexpr std::size_t kEthernetBytes = 14;
// The longest is an unreachable that quotes the longest SYN: an IPv6 header and eight bytes of ICMP in front.
inline constexpr std::size_t kFrameBytesMax = kEthernetBytes + 40 + 8 + CV_SYN_PACKET_BYTES_MAX;
using FrameBuffer = std::array<std::uint8_t, kFrameBytesMax>;

// A SYN from its IP header to the end of its TCP header (RFC 9293 section 3.1), lengths and checksums put right for a packet without payload.
class SynPacket {
 public:
  // Null: these are not the headers of one SYN and nothing else.
  [[nodiscard]] static std::optional<SynPacket> parse(ByteView packet) noexcept;

  [[nodiscard]] const Endpoint& source() const noexcept { return source_; }
  [[nodiscard]] const Endpoint& destination() const noexcept { return destination_; }
  [[nodiscard]] ByteView bytes() const noexcept { return ByteView(bytes_).first(size_); }

  // Ethernet frames, as they come over lo.
  [[nodiscard]] ByteView make_again(FrameBuffer& out) const noexcept;
  // The destination's answer to it: RST and ACK (RFC 9293 section 3.5.2). connect() gives ECONNREFUSED.
  [[nodiscard]] ByteView make_reset(FrameBuffer& out) const noexcept;
  // "Host unreachable" in the destination's name (RFC 792), or "address unreachable" (RFC 4443). connect() gives EHOSTUNREACH.
  [[nodiscard]] ByteView make_unreachable(FrameBuffer& out) const noexcept;

 private:
  [[nodiscard]] std::size_t begin_frame(FrameBuffer& out, std::size_t payload_bytes,
                                        std::uint8_t protocol) const noexcept;
  [[nodiscard]] bool is_v4() const noexcept { return source_.address.is_v4(); }

  Endpoint source_;
  Endpoint destination_;
  std::uint32_t sequence_ = 0;
  std::uint8_t ip_bytes_ = 0;
  std::uint8_t size_ = 0;
  std::array<std::uint8_t, CV_SYN_PACKET_BYTES_MAX> bytes_{};
};

}  // namespace culvert::proxy
