// SPDX-License-Identifier: Apache-2.0
#include "control/config_tracing.hpp"

#include <charconv>
#include <cmath>

#include "control/grpc_channel.hpp"
#include "telemetry/span.hpp"

namespace culvert::control {
namespace {

constexpr std::size_t kTextMax = 4'095;
constexpr std::size_t kServiceNameMax = 255;
constexpr std::uint16_t kPort = 4'317;
constexpr GrpcAddressKind kCollector = {.what = "the collector's address", .port_tls = kPort, .port_plaintext = kPort};
constexpr std::uint32_t kPercent = 100;

ScalarValue collector_value(std::string& target) {
  return {"address of a collector",
          "https://HOST:PORT, http://HOST:PORT, or HOST:PORT (TLS)",
          {},
          [&target](std::string_view text) -> Result<void> {
            if (text.empty()) {
              target.clear();
              return {};
            }
            target = CV_TRY(parse_collector(text));
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

ScalarValue percent_value(std::uint32_t& target) {
  return {"percent",
          "0 to 100",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_share(text, kPercent));
            return {};
          },
          [&target] { return fmt::format("{}", target * static_cast<double>(kPercent) / telemetry::kSamplingAll); },
          variable_of(target)};
}

}  // namespace

Result<std::string> parse_collector(std::string_view text, bool is_plaintext) {
  const auto target = parse_grpc_address(text, kCollector);
  if (!target || text.size() > kTextMax) {
    return fail(ErrorCode::InvalidArgument,
                "{} is not the address of a collector; write https://HOST:PORT, http://HOST:PORT (plain text), or "
                "HOST:PORT, without a path",
                quoted(text));
  }
  const bool has_scheme = text.find("://") != std::string_view::npos;
  const bool is_open = target->is_plaintext || (is_plaintext && !has_scheme);
  return fmt::format("{}://{}:{}", is_open ? "http" : "https", target->host, target->port);
}

Result<std::uint32_t> parse_share(std::string_view text, std::uint32_t all) {
  const auto steps = static_cast<double>(telemetry::kSamplingAll / all);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!is_number || !(value >= 0 && value <= all)) {
    return fail(ErrorCode::InvalidArgument, "{} is not such a number; write 0 to {}", quoted(text), all);
  }
  const double share = std::round(value * steps);
  if (std::abs(share - value * steps) > 1e-6) {
    return fail(ErrorCode::InvalidArgument, "{} is finer than can be told; write a multiple of {}", quoted(text),
                1 / steps);
  }
  return static_cast<std::uint32_t>(share);
}

void visit_tracing(FieldVisitor& v, TracingConfig& tracing) {
  constexpr Applies kLive = Applies::Live;
  constexpr Applies kRestart = Applies::Restart;
  v.section("otlp", "The collector, which takes OTLP over gRPC.", [&tracing](FieldVisitor& inner) {
    inner.scalar({"endpoint", kRestart, "Where spans are sent; without it there are none. Port 4317 when not given."},
                 collector_value(tracing.endpoint));
    inner.scalar({"roots", kRestart, "Who vouches for the collector: a PEM file, or SYSTEM."},
                 text_value(tracing.roots, kTextMax));
    inner.scalar({"timeout", kRestart, "A call that takes longer has failed."},
                 duration_value(tracing.timeout_ms, kExportTimeoutMsMin, kExportTimeoutMsMax));
  });
  v.scalar({"sampling", kLive, "Percentage of connections that get a span, of those that this agent decides about."},
           percent_value(tracing.share));
  v.scalar({"follow_parent", kLive,
            "A connection that another agent began gets a span where it has one there; false: as `sampling` says."},
           boolean_value(tracing.follows_parent));
  v.scalar({"service_name", kRestart, "service.name of what is sent."},
           text_value(tracing.service_name, kServiceNameMax));
  v.scalar({"max_queued_spans", kRestart, "Spans that wait for the collector; more are lost and counted."},
           integer_value(tracing.queued_spans_max, 1, kQueuedSpansMax));
  v.scalar({"export_interval", kRestart, "How long a span waits for company at most; 512 are company enough."},
           duration_value(tracing.export_interval_ms, kExportIntervalMsMin, kExportIntervalMsMax));
}

}  // namespace culvert::control
