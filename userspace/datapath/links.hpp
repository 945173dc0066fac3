// SPDX-License-Identifier: Apache-2.0
// Pinned BPF links: a hook that stays when the agent goes. Replacing the program of a live link leaves no gap. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert::datapath {

// BPF_TCX_EGRESS: newer than Debian 12's headers (6.6).
inline constexpr std::uint32_t kTcxEgress = 47;

struct LinkSpec {
  std::string pin;
  int program_fd = -1;
  int target =
      -1;  // a cgroup or network namespace descriptor, or the index of a device in the calling thread's namespace
  std::uint32_t attach_type = 0;
  // What a live link reports of its target: a namespace's inode, a device's index; 0: not compared.
  std::uint32_t target_id = 0;
};

// Gives the pinned link another program; false: it is gone, elsewhere, or not to be updated. No waiting in the kernel.
[[nodiscard]] bool update_link(const LinkSpec& spec) noexcept;
// Updates the pinned link if it lives and is where it should be; else makes it anew and pins it.
[[nodiscard]] Result<void> ensure_link(const LinkSpec& spec);
// The error says why the pin is not a live link to the target.
[[nodiscard]] Result<void> verify_link(const LinkSpec& spec);
// Not pinned, gone with the descriptor.
[[nodiscard]] Result<UniqueFd> create_link(int program_fd, int target, std::uint32_t attach_type);
void remove_pin(const std::string& path) noexcept;
// A directory of pins and everything in it.
void remove_pin_tree(const std::string& path) noexcept;

}  // namespace culvert::datapath
