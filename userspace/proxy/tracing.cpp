// SPDX-License-Identifier: Apache-2.0
#include "proxy/tracing.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"
#include "hbone/messages.hpp"

namespace culvert::proxy {
namespace {

std::uint64_t number(WorkerState& state) {
  std::uint64_t made = 0;
  while (made == 0) made = state.random_word();
  return made;
}

// Numbers of a trace that nobody records. An agent that goes by a trace's number alone shall not record it either; where all are recorded, the
// flag alone says no.
hbone::TraceParent unrecorded(WorkerState& state) {
  constexpr std::uint64_t kHalves = std::uint64_t{1} << 32U;
  const std::uint64_t share = state.options.tracing.share;
  const std::uint64_t first = share == 0 ? 0 : (share << 32U) / telemetry::kSamplingAll + 1;
  const std::uint64_t choices = first < kHalves ? kHalves - first : kHalves;
  const std::uint64_t upper = (first % kHalves) + ((state.random_word() >> 32U) * choices >> 32U);
  return {.trace_high = number(state), .trace_low = upper << 32U | state.random_word() >> 32U, .span = number(state)};
}

}  // namespace

void begin_trace(WorkerState& state, Flow& flow) {
  if (state.options.tracing.queue == nullptr) return;
  const std::uint64_t trace_low = number(state);
  if (!telemetry::is_sampled(trace_low, state.options.tracing.share)) return;
  flow.need_details().trace = {
      .trace_high = state.random_word(), .trace_low = trace_low, .span = number(state), .parent = 0};
}

void continue_trace(WorkerState& state, Flow& flow, std::string_view traceparent) {
  const Tracing& tracing = state.options.tracing;
  if (tracing.queue == nullptr) return;
  const std::optional<hbone::TraceParent> parent = hbone::parse_traceparent(traceparent);
  if (!parent) return begin_trace(state, flow);
  const bool is_wanted =
      tracing.follows_parent ? parent->is_sampled : telemetry::is_sampled(parent->trace_low, tracing.share);
  if (!is_wanted) return;
  flow.need_details().trace = {
      .trace_high = parent->trace_high, .trace_low = parent->trace_low, .span = number(state), .parent = parent->span};
}

std::string traceparent_of(WorkerState& state, const Flow& flow) {
  if (!has_span(state, flow)) return hbone::format_traceparent(unrecorded(state));
  const telemetry::TraceContext& trace = flow.details->trace;
  return hbone::format_traceparent(
      {.trace_high = trace.trace_high, .trace_low = trace.trace_low, .span = trace.span, .is_sampled = true});
}

void end_trace(WorkerState& state, const Flow& flow, telemetry::ConnectionLog line) {
  const std::uint64_t end_us = std::max(wall_us(), line.start_us);
  state.options.tracing.queue->push({flow.details->trace, std::move(line), end_us});
}

}  // namespace culvert::proxy
