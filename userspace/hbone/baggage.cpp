// SPDX-License-Identifier: Apache-2.0
// The `baggage` header as the mesh uses it: no spaces, no percent-encoding, members in a fixed order, unknown ones passed over.
#include <array>

#include "hbone/messages.hpp"

namespace culvert::hbone {
namespace {

constexpr std::string_view kPrefix = "k8s.";
constexpr std::string_view kSuffix = ".name";
constexpr std::array<std::string_view, 4> kWorkloadTypes = {"deployment", "cronjob", "pod", "job"};

// The TYPE of k8s.TYPE.name; empty: another key.
std::string_view workload_type_of(std::string_view key) noexcept {
  if (!key.starts_with(kPrefix) || !key.ends_with(kSuffix) || key.size() <= kPrefix.size() + kSuffix.size()) return {};
  const std::string_view type = key.substr(kPrefix.size(), key.size() - kPrefix.size() - kSuffix.size());
  for (const std::string_view known : kWorkloadTypes) {
    if (type == known) return known;
  }
  return {};
}

void set(Baggage& baggage, std::string_view key, std::string_view value) noexcept {
  if (key == "k8s.cluster.name")
    baggage.cluster = value;
  else if (key == "k8s.namespace.name")
    baggage.namespace_name = value;
  else if (key == "service.name")
    baggage.service = value;
  else if (key == "service.version")
    baggage.revision = value;
  else if (key == "cloud.region")
    baggage.region = value;
  else if (key == "cloud.availability_zone")
    baggage.zone = value;
  else if (const std::string_view type = workload_type_of(key); !type.empty()) {
    baggage.workload_type = type;
    baggage.workload_name = value;
  }
}

}  // namespace

Baggage parse_baggage(std::string_view text) noexcept {
  Baggage baggage;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view member = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    const std::size_t equals = member.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view value = member.substr(equals + 1);
    value = value.substr(0, value.find('='));  // what follows a second one is not part of it
    if (!value.empty()) set(baggage, member.substr(0, equals), value);
  }
  return baggage;
}

std::string format_baggage(const Baggage& baggage) {
  std::string text;
  const auto add = [&](std::string_view before, std::string_view type, std::string_view after, std::string_view value) {
    if (value.empty()) return;
    if (!text.empty()) text += ',';
    text.append(before).append(type).append(after).append(1, '=').append(value);
  };
  add("k8s.cluster.name", {}, {}, baggage.cluster);
  add("k8s.namespace.name", {}, {}, baggage.namespace_name);
  if (!baggage.workload_type.empty()) add(kPrefix, baggage.workload_type, kSuffix, baggage.workload_name);
  add("service.name", {}, {}, baggage.service);
  add("service.version", {}, {}, baggage.revision);
  add("cloud.region", {}, {}, baggage.region);
  add("cloud.availability_zone", {}, {}, baggage.zone);
  return text;
}

}  // namespace culvert::hbone
