// SPDX-License-Identifier: Apache-2.0
#include "telemetry/traffic_labels.hpp"

#include <array>
#include <functional>

#include "telemetry/text.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::string_view kUnknownSourceLocality = R"(source_region="unknown",source_zone="unknown")";
constexpr std::string_view kUnknownDestinationLocality = R"(destination_region="unknown",destination_zone="unknown")";

void append_label(std::string& out, std::string_view side, std::string_view name, std::string_view value) {
  if (!out.empty() && out.back() == '"') out += ',';
  out.append(side).append(name).append("=\"");
  append_label_value(out, value.empty() || value.size() > kLabelBytesMax ? kUnknownLabel : value);
  out += '"';
}

LabelText finish(std::string labels, const std::string& locality) {
  LabelText made{.text = std::move(labels), .labels_bytes = 0, .hash = 0};
  made.labels_bytes = static_cast<std::uint32_t>(made.text.size());
  made.text += locality;
  made.hash = std::hash<std::string_view>{}(made.text);
  return made;
}

LabelText party_text(std::string_view side, const TrafficParty& party) {
  std::string labels;
  labels.reserve(512);
  append_label(labels, side, "workload", party.workload);
  append_label(labels, side, "canonical_service", party.canonical_service);
  append_label(labels, side, "canonical_revision", party.canonical_revision);
  append_label(labels, side, "workload_namespace", party.namespace_name);
  append_label(labels, side, "principal", party.principal);
  append_label(labels, side, "app", party.app);
  append_label(labels, side, "version", party.version);
  append_label(labels, side, "cluster", party.cluster);
  std::string locality;
  if (party.is_known) {
    append_label(locality, side, "region", party.region);
    append_label(locality, side, "zone", party.zone);
  }
  return finish(std::move(labels), locality);
}

bool same(const std::shared_ptr<const LabelText>& a, const std::shared_ptr<const LabelText>& b) noexcept {
  if (a == b) return true;
  return a != nullptr && b != nullptr && a->hash == b->hash && a->text == b->text;
}

}  // namespace

std::string_view to_string(Reporter reporter) noexcept {
  return reporter == Reporter::Source ? "source" : "destination";
}

std::string_view to_string(SecurityPolicy policy) noexcept {
  return policy == SecurityPolicy::MutualTls ? "mutual_tls" : "unknown";
}

LabelText source_text(const TrafficParty& party) { return party_text("source_", party); }
LabelText destination_text(const TrafficParty& party) { return party_text("destination_", party); }

LabelText service_text(const TrafficService& service) {
  std::string labels;
  append_label(labels, "destination_", "service", service.hostname);
  append_label(labels, "destination_", "service_namespace", service.namespace_name);
  append_label(labels, "destination_", "service_name", service.name);
  return finish(std::move(labels), {});
}

LabelText hostname_text(std::string_view hostname) {
  std::string labels;
  append_label(labels, {}, "hostname", hostname);
  return finish(std::move(labels), {});
}

std::uint64_t LabelSet::hash() const noexcept {
  std::uint64_t mixed = mix_hash(static_cast<std::uint64_t>(kind) << 16U | static_cast<std::uint64_t>(reporter) << 8U |
                                     static_cast<std::uint64_t>(policy),
                                 source->hash);
  mixed = mix_hash(mixed, service->hash);
  return destination == nullptr ? mixed : mix_hash(mixed, destination->hash);
}

bool LabelSet::operator==(const LabelSet& other) const noexcept {
  return kind == other.kind && reporter == other.reporter && policy == other.policy && same(source, other.source) &&
         same(service, other.service) && same(destination, other.destination);
}

void append_labels(std::string& out, const LabelSet& labels, std::string_view flag) {
  if (labels.kind == LabelSet::Kind::NameLookup) {
    out.append("{").append(labels.source->labels()).append(",").append(labels.service->labels()).append("}");
    return;
  }
  out.append("{reporter=\"").append(to_string(labels.reporter)).append("\",");
  out.append(labels.source->labels()).append(",");
  out.append(labels.service->labels()).append(",");
  out.append(labels.destination->labels());
  out.append(R"(,request_protocol="tcp",response_flags=")").append(flag);
  out.append(R"(",connection_security_policy=")").append(to_string(labels.policy)).append("\"");
  const std::string_view source = labels.source->locality();
  const std::string_view destination = labels.destination->locality();
  if (!source.empty() || !destination.empty()) {
    out.append(",").append(source.empty() ? kUnknownSourceLocality : source);
    out.append(",").append(destination.empty() ? kUnknownDestinationLocality : destination);
  }
  out.append("}");
}

}  // namespace culvert::telemetry
