// SPDX-License-Identifier: Apache-2.0
#include "enroll/request_handler.hpp"

#include <utility>
#include <variant>

namespace culvert::enroll {
namespace {

using cni::Answer;
using cni::AnswerCode;
using cni::Membership;

Answer answer_to(const Error& error) {
  switch (error.code()) {
    case ErrorCode::Unavailable:
    case ErrorCode::Timeout:
    case ErrorCode::ResourceExhausted: return {AnswerCode::TryAgain, error.message()};
    case ErrorCode::InvalidArgument: return {AnswerCode::BadRequest, error.message()};
    default: return {AnswerCode::Failed, error.message()};
  }
}

Answer answer_to(const Result<void>& done) { return done ? Answer{} : answer_to(done.error()); }

Answer not_known_yet(const cni::PodName& pod) {
  return {AnswerCode::TryAgain,
          fmt::format("the agent does not know yet whether pod {}/{} is in the mesh", pod.namespace_name, pod.name)};
}

// Outside Kubernetes a runtime names no pod; then the container's id and the default names stand in, also for who is in the mesh.
void stand_in(cni::PodName& pod, const std::string& id) {
  const auto or_else = [](std::string& name, std::string_view otherwise) {
    if (name.empty()) name = otherwise;
  };
  or_else(pod.name, id);
  or_else(pod.namespace_name, "default");
  or_else(pod.service_account, "default");
}

RequestHandler::Outcome refusal(AnswerCode code, std::string message) { return {{code, std::move(message)}, false}; }

}  // namespace

RequestHandler::Outcome RequestHandler::handle(Packet packet) {
  if (packet.is_truncated) {
    return refusal(AnswerCode::BadRequest, fmt::format("a request has more than {} bytes", cni::kMessageBytesMax));
  }
  auto request = cni::decode_request(packet.text);
  if (!request) {
    const bool is_version = request.error().code() == ErrorCode::Unsupported;
    return refusal(is_version ? AnswerCode::UnsupportedVersion : AnswerCode::BadRequest, request.error().message());
  }
  const bool is_join = std::holds_alternative<cni::JoinRequest>(*request);
  const std::size_t expected = is_join ? cni::kDescriptorsMax : 0;
  if (packet.has_lost_fds || packet.fds.size() != expected) {
    return refusal(AnswerCode::BadRequest,
                   packet.has_lost_fds
                       ? std::string("descriptors of a request were lost: too many of them, or none left in the agent")
                       : fmt::format("a request came with {} descriptors, {} expected", packet.fds.size(), expected));
  }
  if (is_join) return {run(std::get<cni::JoinRequest>(std::move(*request)), std::move(packet.fds.front())), true};
  return std::visit(
      [this](auto& other) -> Outcome {
        if constexpr (std::is_same_v<std::decay_t<decltype(other)>, cni::JoinRequest>) {
          return {};
        } else {
          return {run(other), true};
        }
      },
      *request);
}

Answer RequestHandler::run(cni::JoinRequest request, UniqueFd netns) {
  Answer answer;
  stand_in(request.pod, request.id);
  answer.membership = request.enrol == cni::Enrol::Always ? Membership::Inside : service_.is_in_mesh(request.pod);
  if (answer.membership == Membership::Outside) return answer;
  if (answer.membership == Membership::Unknown) return not_known_yet(request.pod);
  PodSpec spec;
  spec.id = std::move(request.id);
  spec.name = std::move(request.pod.name);
  spec.namespace_name = std::move(request.pod.namespace_name);
  spec.service_account = std::move(request.pod.service_account);
  spec.netns_path = std::move(request.netns_path);
  spec.addresses = std::move(request.addresses);
  spec.cni_network = std::move(request.network);
  const auto joined = service_.join(std::move(spec), std::move(netns));
  if (!joined) return answer_to(joined.error());
  answer.slot = joined->slot;
  return answer;
}

Answer RequestHandler::run(cni::CheckRequest request) {
  Answer answer;
  stand_in(request.pod, request.id);
  answer.membership = request.enrol == cni::Enrol::Always ? Membership::Inside : service_.is_in_mesh(request.pod);
  if (answer.membership == Membership::Outside) return answer;
  if (answer.membership == Membership::Unknown) return not_known_yet(request.pod);
  const auto checked = service_.check(request.id);
  if (checked) return answer;
  if (checked.error().code() == ErrorCode::NotFound)
    return {AnswerCode::NotJoined, checked.error().message(), answer.membership};
  return answer_to(checked.error());
}

Answer RequestHandler::run(const cni::LeaveRequest& request) { return answer_to(service_.leave(request.id)); }
Answer RequestHandler::run(const cni::GcRequest& request) { return answer_to(service_.gc(request)); }

Answer RequestHandler::run(const cni::StatusRequest&) {
  const auto ready = service_.is_ready();
  return ready ? Answer{} : Answer{AnswerCode::TryAgain, ready.error().message()};
}

Answer RequestHandler::run(cni::EligibilityRequest request) {
  Answer answer;
  stand_in(request.pod, {});
  answer.membership = service_.is_in_mesh(request.pod);
  return answer;
}

}  // namespace culvert::enroll
