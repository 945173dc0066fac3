// SPDX-License-Identifier: Apache-2.0
#include "control/istio_ca.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>

#include "proto/certificate.grpc.pb.h"
#include "tls/csr.hpp"

namespace culvert::control {
namespace {

using istio::v1::auth::IstioCertificateRequest;
using istio::v1::auth::IstioCertificateResponse;
using istio::v1::auth::IstioCertificateService;

constexpr std::size_t kReasonBytesMax = 300;

ErrorCode code_of(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED: return ErrorCode::Timeout;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: return ErrorCode::PermissionDenied;
    case grpc::StatusCode::INVALID_ARGUMENT: return ErrorCode::InvalidArgument;
    default: return ErrorCode::Unavailable;
  }
}

Error to_error(const grpc::Status& status, const std::string& address, std::uint64_t timeout_ms) {
  std::string reason = status.error_message().substr(0, kReasonBytesMax);
  for (char& c : reason) {
    if (c < ' ' || c > '~') c = '?';
  }
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {ErrorCode::Timeout, fmt::format("the CA at {} did not answer within {} ms", address, timeout_ms)};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return {ErrorCode::PermissionDenied, fmt::format("the CA at {} refused: {}; it wants a valid token of a service "
                                                       "account that it trusts with nodes, the header "
                                                       "clusterid, and a pod with the identity's account on this node",
                                                       address, reason)};
    case grpc::StatusCode::UNAVAILABLE:
      return {ErrorCode::Unavailable, fmt::format("cannot reach the CA at {}: {}", address, reason)};
    default: return {code_of(status), fmt::format("the CA at {} answered with an error: {}", address, reason)};
  }
}

}  // namespace

struct IstioCa::Call {
  Call(tls::CertificateRequest made, SpiffeId asked_for, Reply answer)
      : request(std::move(made)), identity(std::move(asked_for)), reply(std::move(answer)) {}
  tls::CertificateRequest request;
  SpiffeId identity;
  Reply reply;
  std::unique_ptr<grpc::ClientContext> context;
  IstioCertificateRequest message;
  IstioCertificateResponse response;
  bool has_other_name = false;  // it was sent under the alternative name
  bool has_tried_both_names = false;
};

// Outlives every call that is under way: the library's threads hold plain pointers to it and to the calls, and nothing that would end a channel,
// which only another thread than theirs may do.
struct IstioCa::State : std::enable_shared_from_this<State> {
  Options options;
  Post post;
  Now now;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<IstioCertificateService::Stub> stub;
  std::string roots_text;  // of `channel`
  bool uses_other_name = false;
  std::mutex mutex;  // of these three
  bool can_post = true;
  std::size_t under_way = 0;
  std::condition_variable ended;
  std::set<std::shared_ptr<Call>> calls;

  Result<void> ensure_channel();
  void start(const std::shared_ptr<Call>& call);
  // On a thread of the library, once for each start.
  void answered(Call* call, const grpc::Status& status);
  void finished(const std::shared_ptr<Call>& call, const grpc::Status& status);
};

Result<void> IstioCa::State::ensure_channel() {
  const GrpcTarget target = CV_TRY(parse_grpc_address(options.endpoint.address));
  std::string roots;
  if (!target.is_plaintext) roots = CV_TRY(read_roots(options.endpoint.roots));
  if (channel != nullptr && roots == roots_text) return {};
  channel = CV_TRY(make_channel(options.endpoint, uses_other_name));
  stub = IstioCertificateService::NewStub(channel);
  roots_text = std::move(roots);
  return {};
}

void IstioCa::State::start(const std::shared_ptr<Call>& call) {
  call->context = std::make_unique<grpc::ClientContext>();
  auto ready = ensure_channel();
  if (ready) ready = add_metadata(*call->context, options.endpoint);
  if (!ready) {
    calls.erase(call);
    call->reply(std::unexpected(std::move(ready).error()));
    return;
  }
  // Pauses between attempts are the manager's: a connection that failed long ago is tried now.
  grpc::experimental::ChannelResetConnectionBackoff(channel.get());
  call->context->set_wait_for_ready(false);
  call->has_other_name = uses_other_name;
  call->context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(options.call_timeout_ms));
  {
    const std::lock_guard lock(mutex);
    ++under_way;
  }
  stub->async()->CreateCertificate(call->context.get(), &call->message, &call->response,
                                   [this, raw = call.get()](const grpc::Status& status) { answered(raw, status); });
}

void IstioCa::State::answered(Call* call, const grpc::Status& status) {
  const std::lock_guard lock(mutex);
  if (can_post) {
    post([weak = weak_from_this(), call, status] {
      const auto state = weak.lock();
      if (state == nullptr) return;
      const auto same = [call](const std::shared_ptr<Call>& one) { return one.get() == call; };
      const auto place = std::ranges::find_if(state->calls, same);
      if (place != state->calls.end()) state->finished(std::shared_ptr<Call>(*place), status);
    });
  }
  --under_way;
  ended.notify_all();
}

void IstioCa::State::finished(const std::shared_ptr<Call>& call, const grpc::Status& status) {
  // The certificate may carry the other name alone: the other way round for this call and those that follow, unless one that was under way
  // beside it has turned it round already.
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !options.endpoint.alternative_name.empty() &&
      !std::exchange(call->has_tried_both_names, true)) {
    if (call->has_other_name == uses_other_name) {
      uses_other_name = !uses_other_name;
      channel.reset();
    }
    call->response.Clear();
    start(call);
    return;
  }
  calls.erase(call);
  if (!status.ok()) {
    call->reply(std::unexpected(to_error(status, options.endpoint.address, options.call_timeout_ms)));
    return;
  }
  const std::vector<std::string> chain(call->response.cert_chain().begin(), call->response.cert_chain().end());
  call->reply(call->request.complete(chain, now()));
}

IstioCa::IstioCa(Options options, Post post, Now now) : state_(std::make_shared<State>()) {
  state_->options = std::move(options);
  state_->post = std::move(post);
  state_->now = std::move(now);
}

IstioCa::~IstioCa() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->can_post = false;
  }
  for (const auto& call : state_->calls) call->context->TryCancel();
  std::unique_lock lock(state_->mutex);
  state_->ended.wait(lock, [this] { return state_->under_way == 0; });  // a cancelled call ends at once
}

void IstioCa::set_lifetime_s(std::int64_t lifetime_s) noexcept { state_->options.lifetime_s = lifetime_s; }

void IstioCa::request(const SpiffeId& identity, Reply reply) {
  auto made = tls::CertificateRequest::make(identity);
  if (!made) {
    reply(std::unexpected(std::move(made).error()));
    return;
  }
  auto call = std::make_shared<Call>(*std::move(made), identity, std::move(reply));
  call->message.set_csr(call->request.pem());
  call->message.set_validity_duration(state_->options.lifetime_s);
  if (state_->options.impersonates) {
    (*call->message.mutable_metadata()->mutable_fields())["ImpersonatedIdentity"].set_string_value(
        identity.to_string());
  }
  state_->calls.insert(call);
  state_->start(call);
}

}  // namespace culvert::control
