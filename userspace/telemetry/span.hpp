// SPDX-License-Identifier: Apache-2.0
// A span: what a trace tells of one connection at one agent. Plain values; made on a worker when the connection has ended, sent to a collector by
// control/otlp_exporter.hpp. docs/tracing.md says which connections get one.
#pragma once

#include <cstdint>

#include "telemetry/connection_log.hpp"

namespace culvert::telemetry {

// Which span of which trace (W3C Trace Context). Zero as a trace or span means that there is none.
struct TraceContext {
  std::uint64_t trace_high = 0;
  std::uint64_t trace_low = 0;
  std::uint64_t span = 0;    // 0: the connection gets no span
  std::uint64_t parent = 0;  // the span of the other agent; 0: a trace begins here
};

struct Span {
  TraceContext context;
  ConnectionLog connection;
  std::uint64_t end_us = 0;  // wall clock, microseconds since the epoch; not before connection.start_us
};

inline constexpr std::uint32_t kSamplingAll = 1'000'000;

// Whether a share of `share` in kSamplingAll traces includes this one: by the trace's own number, so that agents with one share agree. All bits of
// `trace_low` are random.
[[nodiscard]] constexpr bool is_sampled(std::uint64_t trace_low, std::uint32_t share) noexcept {
  return share >= kSamplingAll || (trace_low >> 32U) * kSamplingAll >> 32U < share;
}

}  // namespace culvert::telemetry
