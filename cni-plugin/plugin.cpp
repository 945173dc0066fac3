// SPDX-License-Identifier: Apache-2.0
#include "plugin.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>

#include "agent_client.hpp"
#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "membership.hpp"
#include "net_config.hpp"
#include "tombstone.hpp"

namespace culvert::cni_plugin {
namespace {

using cni::Answer;
using cni::AnswerCode;
using cni::Membership;
using Done = std::expected<void, CniError>;

std::unexpected<CniError> error(CniErrorCode code, std::string message, std::string details = "") {
  return std::unexpected(CniError{code, std::move(message), std::move(details)});
}

cni::PodName pod_of(const Environment& environment, const NetConfig& config) {
  const auto first = [](const std::string& a, const std::string& b) { return a.empty() ? b : a; };
  cni::PodName pod{first(environment.pod_name, config.args_pod.name),
                   first(environment.pod_namespace, config.args_pod.namespace_name),
                   first(environment.pod_service_account, config.args_pod.service_account)};
  if (pod.service_account.empty()) pod.service_account = config.default_service_account;
  return pod;
}

// Asks the agent about a pod. A pod that is certainly outside gets `Outside` also when the agent cannot answer.
Result<Answer> ask_about(const NetConfig& config, const cni::PodName& pod, const cni::Request& request, int descriptor,
                         std::uint64_t wait_ms) {
  const std::uint64_t now = monotonic_ms();
  const auto is_outside = [&] { return membership_without_agent(config, pod) == Membership::Outside; };
  auto answer =
      ask_agent(config.agent_socket, request, descriptor,
                {.connect_until_ms = now + wait_ms, .answer_until_ms = now + kAnswerWithinMs, .gives_up = is_outside});
  const bool has_word = answer && answer->code != AnswerCode::TryAgain;
  if (has_word || !is_outside()) return answer;
  Answer outside;
  outside.membership = Membership::Outside;
  return outside;
}

// The error for an answer that is none of this command's good ones.
std::unexpected<CniError> refused(const Result<Answer>& answer, const std::string& what) {
  if (!answer) {
    const ErrorCode code = answer.error().code();
    const bool is_foreign = code == ErrorCode::Unsupported || code == ErrorCode::Protocol;
    if (is_foreign) return error(CniErrorCode::ProtocolMismatch, what, answer.error().message());
    return error(CniErrorCode::TryAgainLater, what + ", try again later",
                 answer.error().message() + "; is culvertd running on this node?");
  }
  switch (answer->code) {
    case AnswerCode::TryAgain: return error(CniErrorCode::TryAgainLater, what + ", try again later", answer->message);
    case AnswerCode::UnsupportedVersion:
    case AnswerCode::Denied: return error(CniErrorCode::ProtocolMismatch, what, answer->message);
    case AnswerCode::NotJoined: return error(CniErrorCode::CheckFailed, what, answer->message);
    default: return error(CniErrorCode::AgentRefused, what, answer->message);
  }
}

Done add(const Environment& environment, const NetConfig& config) {
  if (!config.prev_result) {
    return error(CniErrorCode::InvalidConfig, "prevResult is missing",
                 "culvert-cni gives no pod its network; chain it after the plugin that does, last in the list");
  }
  const cni::PodName pod = pod_of(environment, config);
  if (membership_by_config(config, pod) == Membership::Outside) return {};
  const UniqueFd netns(::open(environment.netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns) {
    return error(CniErrorCode::InvalidEnvironment, "cannot open CNI_NETNS",
                 fmt::format("{}: {}", environment.netns_path, ::strerrordesc_np(errno)));
  }
  const cni::JoinRequest request{.id = environment.container_id,
                                 .network = config.name,
                                 .pod = pod,
                                 .netns_path = environment.netns_path,
                                 .addresses = config.addresses,
                                 .enrol = config.enrol == EnrolPolicy::All ? cni::Enrol::Always : cni::Enrol::Ask};
  const auto answer = ask_about(config, pod, request, netns.get(), config.agent_wait_ms);
  if (answer && answer->code == AnswerCode::Ok && answer->membership != Membership::Unknown) return {};
  return refused(answer, "the pod cannot join the mesh");
}

Done check(const Environment& environment, const NetConfig& config) {
  const cni::PodName pod = pod_of(environment, config);
  if (membership_by_config(config, pod) == Membership::Outside) return {};
  const cni::CheckRequest request{.id = environment.container_id,
                                  .pod = pod,
                                  .enrol = config.enrol == EnrolPolicy::All ? cni::Enrol::Always : cni::Enrol::Ask};
  const auto answer = ask_about(config, pod, request, -1, 0);
  if (answer && answer->code == AnswerCode::Ok) return {};
  return refused(answer, "the pod is not in the mesh as it should be");
}

// Always succeeds. Without a usable configuration the defaults say where the agent is.
void del(const Environment& environment, const NetConfig& config) {
  const std::uint64_t now = monotonic_ms();
  const cni::LeaveRequest request{.id = environment.container_id};
  const auto answer =
      ask_agent(config.agent_socket, request, -1,
                {.connect_until_ms = now, .answer_until_ms = now + kAnswerWithinMs, .gives_up = nullptr});
  if (answer && answer->code == AnswerCode::Ok) return;
  // Of a pod that was outside there is nothing to remember.
  if (membership_without_agent(config, pod_of(environment, config)) == Membership::Outside) return;
  leave_tombstone(config.state_dir, environment.container_id);
}

Done gc(const NetConfig& config) {
  if (!config.valid_ids) {
    return error(CniErrorCode::InvalidConfig, "cni.dev/valid-attachments is missing",
                 "a GC must name the attachments that are to stay");
  }
  for (const cni::GcRequest& request : cni::split_gc(config.name, *config.valid_ids)) {
    const std::uint64_t now = monotonic_ms();
    const auto answer =
        ask_agent(config.agent_socket, request, -1,
                  {.connect_until_ms = now, .answer_until_ms = now + kAnswerWithinMs, .gives_up = nullptr});
    if (!answer || answer->code != AnswerCode::Ok) return refused(answer, "stale pods cannot be collected");
  }
  return {};
}

Done status(const NetConfig& config) {
  if (config.enrol == EnrolPolicy::None) return {};
  const std::uint64_t now = monotonic_ms();
  const auto answer =
      ask_agent(config.agent_socket, cni::StatusRequest(), -1,
                {.connect_until_ms = now, .answer_until_ms = now + kAnswerWithinMs, .gives_up = nullptr});
  if (answer && answer->code == AnswerCode::Ok) return {};
  if (answer) return error(CniErrorCode::PluginNotAvailable, "the agent takes no pods now", answer->message);
  return error(CniErrorCode::LimitedConnectivity,
               "the agent is away; pods of the mesh have no new connections until it is back",
               answer.error().message());
}

// The commands that a configuration's version knows.
Done allowed(Command command, std::string_view version) {
  const bool has_check = version != "0.3.0" && version != "0.3.1";
  const bool has_gc = version == "1.1.0";
  const bool is_new = command == Command::Gc || command == Command::Status;
  if ((command == Command::Check && !has_check) || (is_new && !has_gc)) {
    return error(
        CniErrorCode::IncompatibleVersion, "config version does not allow this command",
        fmt::format("the configuration is in version {}; CHECK needs 0.4.0, GC and STATUS need 1.1.0", version));
  }
  return {};
}

std::expected<Output, CniError> dispatch(const Environment& environment, const NetConfig& config) {
  if (auto done = allowed(environment.command, config.cni_version); !done)
    return std::unexpected(std::move(done).error());
  Done done;
  if (environment.command == Command::Add) done = add(environment, config);
  if (environment.command == Command::Check) done = check(environment, config);
  if (environment.command == Command::Gc) done = gc(config);
  if (environment.command == Command::Status) done = status(config);
  if (!done) return std::unexpected(std::move(done).error());
  if (environment.command == Command::Add) return Output{*config.prev_result + "\n", 0};
  return Output{};
}

}  // namespace

Output run(const GetVariable& get_variable, std::string_view config_text) {
  const auto environment = read_environment(get_variable);
  if (!environment) return error_output(environment.error(), peek_version(config_text));
  if (environment->command == Command::Version) return version_output(peek_version(config_text));
  const auto config = parse_config(config_text, environment->command);
  if (environment->command == Command::Del) {
    del(*environment, config.value_or(NetConfig()));
    return {};
  }
  if (!config) return error_output(config.error(), peek_version(config_text));
  auto output = dispatch(*environment, *config);
  return output ? std::move(*output) : error_output(output.error(), config->cni_version);
}

}  // namespace culvert::cni_plugin
