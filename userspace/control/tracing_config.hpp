// SPDX-License-Identifier: Apache-2.0
// What the agent is told about traces: whether and where spans go, and of which connections. Plain values; the file says most of them, the environment
// (environment_tracing.cpp) all.
#pragma once

#include <cstdint>
#include <string>

#include "control/control_plane_config.hpp"

namespace culvert::control {

struct TracingConfig {
  std::string endpoint;               // of the collector, "https://HOST:PORT" or "http://HOST:PORT"; empty: no spans
  std::string roots = "SYSTEM";       // who vouches for it: a file, SYSTEM, or PEM text
  std::uint64_t timeout_ms = 10'000;  // of one call, connecting included
  std::uint32_t share = 10'000;       // of telemetry::kSamplingAll traces that begin here
  bool follows_parent = true;         // the agent that began a connection decides for both
  std::string service_name = "culvertd";  // service.name of the resource
  std::uint32_t queued_spans_max = 2'048;
  std::uint64_t export_interval_ms = 5'000;
  // From the environment only.
  HeaderList headers;   // sent with each call; names in lower case
  HeaderList resource;  // further attributes of the resource

  bool operator==(const TracingConfig&) const = default;
};

}  // namespace culvert::control
