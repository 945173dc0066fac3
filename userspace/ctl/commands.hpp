// SPDX-License-Identifier: Apache-2.0
// The commands of culvertctl. Each prints its answer on standard output, its errors on standard error, and gives the exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/terminal.hpp"

namespace culvert::ctl {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // refused, failed, or something required is missing
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;  // no agent answers

// Where the agent listens by default: in a container with a read-only root below /tmp, if root's own agent does.
[[nodiscard]] std::string default_socket();
// Flushes standard output. False: something of it was lost, now or before.
[[nodiscard]] bool is_output_whole() noexcept;

struct CommonOptions {
  std::string socket_path = default_socket();
  bool as_json = false;
  Terminal terminal;
};

struct JoinOptions {
  std::string netns;  // a path, or a name below /run/netns
  std::string id;
  std::string name;
  std::string namespace_name;
  std::string service_account;
  std::vector<std::string> addresses;
  std::string answer_syn;  // empty: as the node
};

[[nodiscard]] int run_status(const CommonOptions& common);
[[nodiscard]] int run_pods(const CommonOptions& common);
[[nodiscard]] int run_workloads(const CommonOptions& common);
[[nodiscard]] int run_services(const CommonOptions& common);
[[nodiscard]] int run_certificates(const CommonOptions& common);
[[nodiscard]] int run_explain(const CommonOptions& common, const std::string& source, const std::string& destination);
[[nodiscard]] int run_drops(const CommonOptions& common, bool shows_zeros);
// `pod`: only this pod's, empty: all. `watches`: again every second until interrupted.
[[nodiscard]] int run_connections(const CommonOptions& common, const std::string& pod, bool watches);
[[nodiscard]] int run_join(const CommonOptions& common, const JoinOptions& options);
[[nodiscard]] int run_leave(const CommonOptions& common, const std::string& pod);
// What `istioctl ztunnel-config` reads with -f, to standard output.
[[nodiscard]] int run_config_dump(const CommonOptions& common);
[[nodiscard]] int run_log_level(const CommonOptions& common, const std::string& level);
[[nodiscard]] int run_version(const CommonOptions& common);
[[nodiscard]] int run_preflight(const CommonOptions& common);

// The absolute path of a namespace that was named by a path or by its name below /run/netns.
[[nodiscard]] std::string netns_path(const std::string& word);

}  // namespace culvert::ctl
