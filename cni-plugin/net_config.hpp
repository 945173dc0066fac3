// SPDX-License-Identifier: Apache-2.0
// The network configuration on stdin: our keys, the runtime's, and what the plugins before us have answered. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "cni_result.hpp"
#include "culvert/cni/messages.hpp"
#include "environment.hpp"

namespace culvert::cni_plugin {

inline constexpr std::size_t kConfigBytesMax = std::size_t{16} << 20U;  // a GC names every attachment
inline constexpr std::uint64_t kAgentWaitMsMax =
    3'000;  // with the time for an answer this stays below the 5 s that a runtime is promised

// Which pods the plugin brings to the agent.
enum class EnrolPolicy : std::uint8_t {
  Ask,   // the agent decides, pod by pod
  All,   // every pod that is not in an excluded namespace
  None,  // no pod; the plugin passes results on
};

struct NetConfig {
  std::string cni_version;
  std::string name;
  // Our keys.
  std::string agent_socket = cni::kDefaultSocketPath;
  std::string state_dir = cni::kDefaultStateDir;
  EnrolPolicy enrol = EnrolPolicy::Ask;
  std::vector<std::string> exclude_namespaces;
  std::string default_service_account = "default";
  std::uint64_t agent_wait_ms = 2'000;  // how long ADD waits for an agent that is away, e.g. being upgraded
  // "args": {"cni": {"culvert": {...}}}: the pod's names where the runtime gives no CNI_ARGS.
  cni::PodName args_pod;

  std::optional<std::string> prev_result;             // as it came
  std::vector<IpAddress> addresses;                   // of prevResult's ips that are the pod's own
  std::optional<std::vector<std::string>> valid_ids;  // GC: "cni.dev/valid-attachments"
};

// The version is read before anything else, so that an error can be answered in it.
[[nodiscard]] std::string peek_version(std::string_view text);
[[nodiscard]] std::expected<NetConfig, CniError> parse_config(std::string_view text, Command command);

}  // namespace culvert::cni_plugin
