// SPDX-License-Identifier: Apache-2.0
// GrpcSpanSender: a collector's TraceService over gRPC. The channel is made at the first call, and anew when the roots on disk have changed. Control
// thread; answers come from threads of the library and are posted to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "control/grpc_channel.hpp"
#include "control/otlp_exporter.hpp"

namespace culvert::control {

class GrpcSpanSender final : public SpanSender {
 public:
  // Runs a task on the control thread; any thread.
  using Post = std::function<void(std::function<void()>)>;

  // `endpoint.address` has a scheme and a port.
  GrpcSpanSender(GrpcEndpoint endpoint, std::uint64_t timeout_ms, Post post);
  // Cancels a call that is under way.
  ~GrpcSpanSender() override;

  void send(const ExportRequest& request, Answered answered) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace culvert::control
