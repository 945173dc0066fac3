// SPDX-License-Identifier: Apache-2.0
// Spans as OpenTelemetry's protocol writes them, and what a collector's answer means (OTLP 1.9, "OTLP/gRPC"). Pure. docs/tracing.md has
// the table of attributes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "control/control_plane_config.hpp"
#include "telemetry/span.hpp"

namespace opentelemetry::proto::collector::trace::v1 {
class ExportTraceServiceRequest;
class ExportTraceServiceResponse;
}  // namespace opentelemetry::proto::collector::trace::v1
namespace grpc {
class Status;
}  // namespace grpc

namespace culvert::control {

using ExportRequest = opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
using ExportResponse = opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;

// `resource`: who sends them. Text that is not printable ASCII is made so; the protocol takes UTF-8 only, and some of it came from peers.
void write_spans(std::span<const telemetry::Span> spans, const HeaderList& resource, ExportRequest& to);

struct ExportAnswer {
  enum class Outcome : std::uint8_t {
    Accepted,
    Retry,    // the same spans, later
    Refused,  // they are lost
  };
  Outcome outcome = Outcome::Accepted;
  std::uint64_t rejected_spans = 0;             // of accepted ones: what the collector did not take
  std::optional<std::uint64_t> retry_after_ms;  // not sooner, the collector says
  std::string why;                              // for a person; empty: nothing to say
};
// The trailer grpc-status-details-bin of a refusal says whether and when to try again.
[[nodiscard]] ExportAnswer read_answer(const grpc::Status& status, const ExportResponse& response);

}  // namespace culvert::control
