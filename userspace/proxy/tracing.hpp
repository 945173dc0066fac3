// SPDX-License-Identifier: Apache-2.0
// Which connections get a span, in which trace, and what the other agent is told of it. Off (no queue in the options), all of these are one branch.
// Worker threads.
#pragma once

#include <string>
#include <string_view>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

// A connection that begins here; decides whether it gets a span.
void begin_trace(WorkerState& state, Flow& flow);
// A connection that another agent began, with what it said in `traceparent` (empty: nothing).
void continue_trace(WorkerState& state, Flow& flow, std::string_view traceparent);
// What the far side is told: the flow's own span, or numbers that name none. Where tracing is off it names none as well.
[[nodiscard]] std::string traceparent_of(WorkerState& state, const Flow& flow);

[[nodiscard]] inline bool has_span(const WorkerState& state, const Flow& flow) noexcept {
  return state.options.tracing.queue != nullptr && flow.details != nullptr && flow.details->trace.span != 0;
}
// The flow has ended, as `line` tells.
void end_trace(WorkerState& state, const Flow& flow, telemetry::ConnectionLog line);

}  // namespace culvert::proxy
