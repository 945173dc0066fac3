// SPDX-License-Identifier: Apache-2.0
// One question to the agent over its unix socket, within a deadline. Blocks; the plugin has one thread and nothing else to do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"
#include "culvert/cni/messages.hpp"

namespace culvert::cni_plugin {

struct AgentPatience {
  std::uint64_t connect_until_ms =
      0;  // CLOCK_MONOTONIC: an agent that is away is tried again until then, at least once
  std::uint64_t answer_until_ms = 0;
  // Asked after the first attempt that found no agent: true ends the waiting.
  std::function<bool()> gives_up;
};

// `descriptor` goes along with a join; -1: none. Unavailable: no agent; Timeout: it did not answer in time; Protocol: what it answered
// makes no sense; Unsupported: it speaks another version.
[[nodiscard]] Result<cni::Answer> ask_agent(const std::string& socket_path, const cni::Request& request, int descriptor,
                                            const AgentPatience& patience);

}  // namespace culvert::cni_plugin
