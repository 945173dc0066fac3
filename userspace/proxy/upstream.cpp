// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream.hpp"

#include <cerrno>

#include "core/socket.hpp"

namespace culvert::proxy {

using telemetry::CloseReason;

CloseReason upstream_failure(int error) noexcept {
  switch (error) {
    case ECONNREFUSED: return CloseReason::UpstreamRefused;
    case ETIMEDOUT: return CloseReason::UpstreamTimeout;
    default: return CloseReason::UpstreamFailed;
  }
}

int start_upstream(WorkerState& state, Flow& flow, UniqueFd fd, const Endpoint& destination) {
  flow.upstream.fd = std::move(fd);
  flow.state = FlowState::ConnectUpstream;
  set_reset_on_close(flow.upstream.fd.get(), true);
  const int error = start_connect(flow.upstream.fd.get(), destination);
  if (error != 0 && error != EINPROGRESS) return error;
  if (!state.watch(flow.upstream.fd.get(), TokenKind::Upstream, flow.self)) return ENOMEM;
  state.set_deadline(flow, state.options.connect_timeout_ms);
  return 0;
}

int upstream_answer(WorkerState& state, Flow& flow, std::uint32_t events) noexcept {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    if (const int error = connect_error(flow.upstream.fd.get()); error != 0) return error;
  }
  if ((events & EPOLLOUT) == 0) return EINPROGRESS;
  flow.state = FlowState::Open;
  state.set_deadline(flow, 0);
  return 0;
}

}  // namespace culvert::proxy
