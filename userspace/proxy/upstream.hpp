// SPDX-License-Identifier: Apache-2.0
// Upstream: connecting a flow's plain upstream socket; shared by passthrough and by both kinds of inbound.
#pragma once

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

// Starts the connect and watches the socket: the flow is in ConnectUpstream, and its first EPOLLOUT, ERR or HUP is the answer.
// 0 or an errno; the flow is not ended here.
[[nodiscard]] int start_upstream(WorkerState& state, Flow& flow, UniqueFd fd, const Endpoint& destination);
// What epoll's events say of a connect under way: 0 connected (the flow is Open now), EINPROGRESS, or why it failed.
[[nodiscard]] int upstream_answer(WorkerState& state, Flow& flow, std::uint32_t events) noexcept;
// What an errno of connect means for the log.
[[nodiscard]] telemetry::CloseReason upstream_failure(int error) noexcept;

}  // namespace culvert::proxy
