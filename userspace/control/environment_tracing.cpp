// SPDX-License-Identifier: Apache-2.0
#include "control/environment_tracing.hpp"

#include <algorithm>
#include <utility>

#include "control/config_tracing.hpp"
#include "telemetry/span.hpp"

namespace culvert::control {
namespace {

using Reader = EnvironmentReader;

constexpr std::string_view kHidden = "(not shown)";  // it may hold a key

struct Found {
  std::string_view name;
  const std::string* value = nullptr;
  explicit operator bool() const noexcept { return value != nullptr; }
};

Found find(const Reader& reader, std::string_view name) {
  const std::string* value = reader.find(name);
  return {name, value != nullptr && value->empty() ? nullptr : value};
}

// That of traces comes before that of every signal.
Found find_otlp(const Reader& reader, std::string_view of_traces, std::string_view of_all) {
  if (const Found found = find(reader, of_traces)) return found;
  return find(reader, of_all);
}

// Printable ASCII, or nothing.
std::optional<std::string> decoded(std::string_view text) {
  auto plain = percent_decode(text);
  if (plain && !std::ranges::all_of(*plain, [](char c) { return c >= ' ' && c <= '~'; })) return std::nullopt;
  return plain;
}

// "key=value,key=value", with what needs it written as %XX.
HeaderList read_pairs(Reader& reader, const Found& found, std::string_view shown) {
  HeaderList pairs;
  std::string_view rest = found ? std::string_view(*found.value) : std::string_view{};
  while (!rest.empty()) {
    const std::string_view pair = trimmed(rest.substr(0, rest.find(',')));
    rest.remove_prefix(
        std::min(rest.size(), rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1));
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    const std::string key(trimmed(pair.substr(0, equals)));
    const auto value = equals == std::string_view::npos ? std::nullopt : decoded(trimmed(pair.substr(equals + 1)));
    if (key.empty() || !value) {
      reader.wrong(found.name, shown, "KEY=VALUE pairs with commas between, printable ASCII, are wanted");
      return {};
    }
    pairs.emplace_back(key, *value);
  }
  return pairs;
}

void read_headers(Reader& reader, const Found& found, HeaderList& to) {
  if (!found) return;
  to = read_pairs(reader, found, kHidden);
  for (auto& [name, value] : to) {
    make_lower(name);
    const auto is_allowed = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    };
    if (!std::ranges::all_of(name, is_allowed) || name.starts_with("grpc-")) {
      reader.wrong(found.name, kHidden, "one of the names cannot be that of a header");
    }
  }
}

void read_collector(Reader& reader, TracingConfig& to) {
  bool is_off = find(reader, "OTEL_SDK_DISABLED") && reader.boolean_in_any_case("OTEL_SDK_DISABLED").value_or(false);
  if (const Found found = find(reader, "OTEL_TRACES_EXPORTER")) {
    if (*found.value != "otlp" && *found.value != "none")
      reader.wrong(found.name, *found.value, "otlp or none is wanted");
    is_off = is_off || *found.value == "none";
  }
  // What is off need not be right.
  if (is_off) return to.endpoint.clear();
  const Found plain = find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE");
  const bool is_plaintext = plain && reader.boolean_in_any_case(plain.name).value_or(false);
  if (const Found found = find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")) {
    if (auto endpoint = parse_collector(*found.value, is_plaintext)) {
      to.endpoint = *std::move(endpoint);
    } else {
      reader.wrong(found.name, *found.value, endpoint.error().message());
    }
  }
  const Found protocol = find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
  if (protocol && *protocol.value != "grpc" && !to.endpoint.empty()) {
    reader.wrong(
        protocol.name, *protocol.value,
        "grpc is the only protocol here: give OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc and the collector's gRPC "
        "port, or OTEL_TRACES_EXPORTER=none");
  }
  if (const Found found = find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"))
    to.roots = *found.value;
  if (const Found found = find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"))
    reader.number(found.name, to.timeout_ms, kExportTimeoutMsMin, kExportTimeoutMsMax);
  read_headers(reader, find_otlp(reader, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
               to.headers);
}

void read_sampler(Reader& reader, TracingConfig& to) {
  const Found sampler = find(reader, "OTEL_TRACES_SAMPLER");
  if (!sampler) return;
  std::string_view name = *sampler.value;
  const bool follows_parent = name.starts_with("parentbased_");
  if (follows_parent) name.remove_prefix(12);
  std::uint32_t share = telemetry::kSamplingAll;
  if (name == "always_off") share = 0;
  if (name == "traceidratio") {
    if (const Found ratio = find(reader, "OTEL_TRACES_SAMPLER_ARG")) {
      const auto parsed = parse_share(*ratio.value, 1);
      if (!parsed) return reader.wrong(ratio.name, *ratio.value, parsed.error().message());
      share = *parsed;
    }
  } else if (name != "always_on" && name != "always_off") {
    return reader.wrong(sampler.name, *sampler.value,
                        "always_on, always_off or traceidratio is wanted, with parentbased_ in front or without");
  }
  to.share = share;
  to.follows_parent = follows_parent;
}

}  // namespace

void read_tracing(Reader& reader, TracingConfig& to) {
  read_collector(reader, to);
  read_sampler(reader, to);
  const Found attributes = find(reader, "OTEL_RESOURCE_ATTRIBUTES");
  for (auto& [key, value] : read_pairs(reader, attributes, attributes ? *attributes.value : std::string_view{})) {
    if (key == "service.name") {
      to.service_name = value;
    } else {
      to.resource.emplace_back(key, value);
    }
  }
  if (const Found found = find(reader, "OTEL_SERVICE_NAME")) to.service_name = *found.value;
  if (find(reader, "OTEL_BSP_MAX_QUEUE_SIZE"))
    reader.number("OTEL_BSP_MAX_QUEUE_SIZE", to.queued_spans_max, 1, kQueuedSpansMax);
  if (find(reader, "OTEL_BSP_SCHEDULE_DELAY"))
    reader.number("OTEL_BSP_SCHEDULE_DELAY", to.export_interval_ms, kExportIntervalMsMin, kExportIntervalMsMax);
}

}  // namespace culvert::control
