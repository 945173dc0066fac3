// SPDX-License-Identifier: Apache-2.0
// What an epoll event or a timer belongs to: a kind and a slab handle in 64 bits.
#pragma once

#include <cstdint>

#include "core/slab.hpp"

namespace culvert::proxy {

enum class TokenKind : std::uint8_t {
  Mailbox = 1,
  Listener,  // index: into the pod table's listeners
  Client,    // the accepted socket of a flow
  Upstream,  // the plain socket that a flow connected
  Tunnel,
  FlowTimer,
  TunnelTimer,
  SynRing,  // SYNs that are held
};

[[nodiscard]] constexpr std::uint64_t make_token(TokenKind kind, SlabHandle handle) noexcept {
  return static_cast<std::uint64_t>(kind) << 60U | static_cast<std::uint64_t>(handle.generation) << 32U | handle.index;
}
[[nodiscard]] constexpr TokenKind token_kind(std::uint64_t token) noexcept {
  return static_cast<TokenKind>(token >> 60U);
}
[[nodiscard]] constexpr SlabHandle token_handle(std::uint64_t token) noexcept {
  return {static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(token >> 32U) & 0x0fff'ffffU};
}

}  // namespace culvert::proxy
