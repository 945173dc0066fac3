// SPDX-License-Identifier: Apache-2.0
// The commands that ask the agent; see commands.hpp.
#include "ctl/commands.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/default_paths.hpp"
#include "base/unique_fd.hpp"
#include "ctl/client.hpp"
#include "ctl/views.hpp"

namespace culvert::ctl {
namespace {

constexpr int kWatchMs = 1'000;

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int report(const Error& error) {
  fmt::print(stderr, "culvertctl: {}\n", error.message());
  return error.code() == ErrorCode::Unavailable ? kExitUnreachable : kExitFailed;
}

using View = std::function<std::string(const Json&)>;

// One read: the agent's JSON as it came, or a view of it.
int show(const CommonOptions& common, const char* path, const View& view) {
  Client client(common.socket_path);
  const auto body = client.get(path);
  if (!body) return report(body.error());
  if (common.as_json) {
    print(*body);
    return kExitOk;
  }
  const auto answer = parse_answer(*body);
  if (!answer) return report(answer.error());
  print(view(*answer));
  return kExitOk;
}

std::string connections_path(const std::string& pod) {
  return pod.empty() ? "/v1/connections" : "/v1/connections?pod=" + Client::segment(pod);
}

// Readable as soon as the person interrupts, so that the last screen stays whole and the cursor comes back.
UniqueFd interruption() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  ::sigaddset(&signals, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

int watch_connections(const CommonOptions& common, const std::string& pod) {
  Client client(common.socket_path);
  const std::string path = connections_path(pod);
  const UniqueFd interrupted = interruption();
  while (true) {
    const Terminal terminal = inspect_terminal(STDOUT_FILENO);  // again: the window may have changed
    const auto body = client.get(path);
    if (!body) return report(body.error());
    if (common.as_json) {
      print(*body);
    } else {
      const auto answer = parse_answer(*body);
      if (!answer) return report(answer.error());
      const std::string view = view_connections(*answer, terminal.look, terminal.height > 1 ? terminal.height - 1 : 0);
      print(terminal.is_terminal ? "\033[H\033[J" + view : view + "\n");
    }
    if (!is_output_whole()) return kExitFailed;  // the reader is gone
    pollfd event{.fd = interrupted.get(), .events = POLLIN, .revents = 0};
    if (::poll(&event, 1, kWatchMs) > 0) return kExitOk;
  }
}

}  // namespace

bool is_output_whole() noexcept { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

std::string default_socket() {
  const std::string usual = std::string(kDefaultRunDir) + kAdminSocketName;
  const std::string on_read_only_root = std::string(kReadOnlyRootRunDir) + kAdminSocketName;
  if (::access(usual.c_str(), F_OK) == 0 || ::access(on_read_only_root.c_str(), F_OK) != 0) return usual;
  // Anybody may make something of that name below /tmp: only what root alone writes to counts.
  struct stat about{};
  const bool is_roots = ::lstat(kReadOnlyRootRunDir, &about) == 0 && S_ISDIR(about.st_mode) && about.st_uid == 0 &&
                        (about.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  return is_roots ? on_read_only_root : usual;
}

std::string netns_path(const std::string& word) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (word.find('/') == std::string::npos && fs::exists("/run/netns/" + word, ignored)) return "/run/netns/" + word;
  const fs::path absolute = fs::absolute(word, ignored);
  return absolute.empty() ? word : absolute.lexically_normal().string();
}

int run_status(const CommonOptions& common) {
  return show(common, "/v1/status", [&](const Json& answer) { return view_status(answer, common.terminal.look); });
}
int run_pods(const CommonOptions& common) {
  return show(common, "/v1/pods", [&](const Json& answer) { return view_pods(answer, common.terminal.look); });
}
int run_workloads(const CommonOptions& common) {
  return show(common, "/v1/workloads",
              [&](const Json& answer) { return view_workloads(answer, common.terminal.look); });
}
int run_services(const CommonOptions& common) {
  return show(common, "/v1/services", [&](const Json& answer) { return view_services(answer, common.terminal.look); });
}
int run_certificates(const CommonOptions& common) {
  return show(common, "/v1/certificates",
              [&](const Json& answer) { return view_certificates(answer, common.terminal.look, std::time(nullptr)); });
}
int run_explain(const CommonOptions& common, const std::string& source, const std::string& destination) {
  const std::string path =
      "/v1/explain?source=" + Client::segment(source) + "&destination=" + Client::segment(destination);
  return show(common, path.c_str(), [&](const Json& answer) { return view_explanation(answer, common.terminal.look); });
}
int run_drops(const CommonOptions& common, bool shows_zeros) {
  return show(common, "/v1/drops",
              [&](const Json& answer) { return view_drops(answer, common.terminal.look, shows_zeros); });
}

int run_connections(const CommonOptions& common, const std::string& pod, bool watches) {
  if (watches) return watch_connections(common, pod);
  return show(common, connections_path(pod).c_str(),
              [&](const Json& answer) { return view_connections(answer, common.terminal.look, 0); });
}

int run_join(const CommonOptions& common, const JoinOptions& options) {
  Json request{{"netns", netns_path(options.netns)}};
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) request[key] = value;
  };
  put("id", options.id);
  put("name", options.name);
  put("namespace", options.namespace_name);
  put("service_account", options.service_account);
  put("answer_syn", options.answer_syn);
  if (!options.addresses.empty()) request["addresses"] = options.addresses;
  Client client(common.socket_path);
  const auto body = client.post("/v1/pods", request.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (!body) return report(body.error());
  if (common.as_json) {
    print(*body);
    return kExitOk;
  }
  const auto pod = parse_answer(*body);
  if (!pod) return report(pod.error());
  print(fmt::format("joined {} as {}\n", text_of(*pod, "id"), printable(text_of(*pod, "identity"))));
  return kExitOk;
}

int run_leave(const CommonOptions& common, const std::string& pod) {
  Client client(common.socket_path);
  const auto body = client.get("/v1/pods");
  if (!body) return report(body.error());
  const auto pods = parse_answer(*body);
  if (!pods) return report(pods.error());
  std::string id = pod_id(*pods, pod);
  if (id.empty()) id = pod_id(*pods, netns_path(pod));
  if (id.empty()) {
    fmt::print(stderr, "culvertctl: no joined pod has the id or the network namespace {}; see `culvertctl pods`\n",
               pod);
    return kExitFailed;
  }
  const auto left = client.remove("/v1/pods/" + Client::segment(id));
  if (!left) return report(left.error());
  print(common.as_json ? Json{{"id", id}}.dump() + "\n"
                       : fmt::format("{} leaves the mesh; its live connections end by themselves\n", id));
  return kExitOk;
}

int run_config_dump(const CommonOptions& common) {
  Client client(common.socket_path);
  const auto body = client.get("/v1/config_dump");
  if (!body) return report(body.error());
  print(*body);
  return kExitOk;
}

int run_log_level(const CommonOptions& common, const std::string& level) {
  Client client(common.socket_path);
  const auto body = client.post("/v1/log?level=" + Client::segment(level), "");
  if (!body) return report(body.error());
  if (common.as_json) print(*body);
  return kExitOk;
}

int run_version(const CommonOptions& common) {
  Client client(common.socket_path);
  const auto body = client.get("/v1/status");
  std::string agent;
  if (body) {
    const auto status = parse_answer(*body);
    if (status) agent = printable(text_of(*status, "version"));
  }
  if (common.as_json) {
    print(Json{{"culvertctl", CULVERT_VERSION}, {"culvertd", agent.empty() ? Json() : Json(agent)}}.dump() + "\n");
  } else {
    print(fmt::format("culvertctl {}\nculvertd   {}\n", CULVERT_VERSION, agent.empty() ? "(not reachable)" : agent));
  }
  return kExitOk;
}

}  // namespace culvert::ctl
