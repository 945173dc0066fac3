// SPDX-License-Identifier: Apache-2.0
#include "control/otlp_sender.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/channel_arguments.h>

#include "proto/otlp_collector.grpc.pb.h"

namespace culvert::control {

using opentelemetry::proto::collector::trace::v1::TraceService;

// Outlives the call that is under way: the library's threads hold a plain pointer to it.
struct GrpcSpanSender::State : std::enable_shared_from_this<State> {
  GrpcEndpoint endpoint;
  std::uint64_t timeout_ms = 0;
  Post post;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<TraceService::Stub> stub;
  std::string roots_text;  // of `channel`
  // Of the call.
  std::unique_ptr<grpc::ClientContext> context;
  ExportResponse response;
  Answered answered;
  std::mutex mutex;  // of these three
  bool can_post = true;
  bool is_under_way = false;
  std::condition_variable ended;

  Result<void> ensure_channel();
  void start(const ExportRequest& request);
  // On a thread of the library, once for each call.
  void call_ended(const grpc::Status& status);
  void reply(ExportAnswer answer);
};

Result<void> GrpcSpanSender::State::ensure_channel() {
  std::string roots;
  if (!endpoint.address.starts_with("http://")) roots = CV_TRY(read_roots(endpoint.roots));
  if (channel != nullptr && roots == roots_text) return {};
  channel = CV_TRY(make_channel(endpoint));
  stub = TraceService::NewStub(channel);
  roots_text = std::move(roots);
  return {};
}

void GrpcSpanSender::State::start(const ExportRequest& request) {
  context = std::make_unique<grpc::ClientContext>();
  auto ready = ensure_channel();
  if (ready) ready = add_metadata(*context, endpoint);
  if (!ready) {
    // Certificates may come later.
    ExportAnswer answer;
    answer.outcome = ExportAnswer::Outcome::Retry;
    answer.why = ready.error().message();
    return post([weak = weak_from_this(), answer] {
      if (const auto state = weak.lock()) state->reply(answer);
    });
  }
  // Pauses between attempts are the exporter's: a connection that failed long ago is tried now.
  grpc::experimental::ChannelResetConnectionBackoff(channel.get());
  context->set_wait_for_ready(false);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
  response.Clear();
  {
    const std::lock_guard lock(mutex);
    is_under_way = true;
  }
  stub->async()->Export(context.get(), &request, &response, [this](const grpc::Status& status) { call_ended(status); });
}

void GrpcSpanSender::State::call_ended(const grpc::Status& status) {
  const std::lock_guard lock(mutex);
  if (can_post) {
    post([weak = weak_from_this(), status] {
      if (const auto state = weak.lock()) state->reply(read_answer(status, state->response));
    });
  }
  is_under_way = false;
  ended.notify_all();
}

void GrpcSpanSender::State::reply(ExportAnswer answer) {
  const Answered then = std::exchange(answered, nullptr);
  then(std::move(answer));
}

GrpcSpanSender::GrpcSpanSender(GrpcEndpoint endpoint, std::uint64_t timeout_ms, Post post)
    : state_(std::make_shared<State>()) {
  state_->endpoint = std::move(endpoint);
  state_->timeout_ms = timeout_ms;
  state_->post = std::move(post);
}

GrpcSpanSender::~GrpcSpanSender() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->can_post = false;
  }
  if (state_->context != nullptr) state_->context->TryCancel();
  std::unique_lock lock(state_->mutex);
  state_->ended.wait(lock, [this] { return !state_->is_under_way; });  // a cancelled call ends at once
}

void GrpcSpanSender::send(const ExportRequest& request, Answered answered) {
  state_->answered = std::move(answered);
  state_->start(request);
}

}  // namespace culvert::control
