// SPDX-License-Identifier: Apache-2.0
// Packets on a SOCK_SEQPACKET unix socket, with the descriptors that came along. System calls only, no protocol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert {

struct Packet {
  std::string text;  // at most the limit that `receive_packet` was given
  std::vector<UniqueFd> fds;
  bool is_truncated = false;  // it was longer; the rest is gone
  bool has_lost_fds = false;  // more descriptors than we have room for, or none left in this process
};

enum class ReceiveStatus : std::uint8_t { Packet, WouldBlock, Closed };

// `packet` is filled only with ReceiveStatus::Packet. A peer that goes away, in whatever manner, is Closed.
[[nodiscard]] ReceiveStatus receive_packet(int fd, std::size_t bytes_max, Packet& packet);
// A connected socket to who listens at `path`. The error has the errno: nobody does, or its queue is full.
[[nodiscard]] Result<UniqueFd> connect_seqpacket(const std::string& path);

// False when the packet did not go out whole: the peer reads too slowly or is gone.
[[nodiscard]] bool send_packet(int fd, std::string_view text) noexcept;

// A listening socket at `path` (0600), in place of a stale one. AlreadyExists when a process answers there.
[[nodiscard]] Result<UniqueFd> listen_seqpacket(const std::string& path, int backlog);

}  // namespace culvert
