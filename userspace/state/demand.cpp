// SPDX-License-Identifier: Apache-2.0
#include "state/demand.hpp"

#include <fmt/format.h>

namespace culvert::state {

std::string name_of(const Wanted& wanted) {
  if (!wanted.hostname.empty()) return fmt::format("{}/{}", wanted.scope, wanted.hostname);
  return fmt::format("{}/{}", wanted.scope, wanted.address.to_string());
}

std::optional<Wanted> parse_wanted(std::string_view name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  Wanted wanted{name.substr(0, slash), name.substr(slash + 1), {}};
  if (const auto address = IpAddress::parse(wanted.hostname)) {
    wanted.hostname = {};
    wanted.address = *address;
  }
  return wanted;
}

bool is_known(const Snapshot& snapshot, const Wanted& wanted) noexcept {
  if (!wanted.hostname.empty()) {
    return snapshot.find_service(wanted.scope, wanted.hostname) != nullptr ||
           snapshot.find_workload(wanted.scope, wanted.hostname) != nullptr;
  }
  // A range around it says nothing of who has the address itself.
  return snapshot.find(wanted.scope, wanted.address) != nullptr || snapshot.has_vip(wanted.scope, wanted.address);
}

std::optional<Wanted> lacking(const Snapshot& snapshot, const Wanted& wanted) {
  if (!snapshot.is_on_demand() || is_known(snapshot, wanted)) return std::nullopt;
  return snapshot.absent().find(name_of(wanted)) == AbsentNames::kNone ? std::optional(wanted) : std::nullopt;
}

std::optional<Wanted> lacking(const Snapshot& snapshot, std::string_view network, const IpAddress& address) {
  if (!snapshot.is_on_demand()) return std::nullopt;
  return lacking(snapshot, Wanted{network.empty() ? snapshot.network() : network, {}, address});
}

std::optional<Wanted> lacking(const Snapshot& snapshot, const GatewayRef& reference) {
  if (!snapshot.is_on_demand()) return std::nullopt;
  if (reference.address) return lacking(snapshot, reference.address->network, reference.address->address);
  return lacking(snapshot, Wanted{reference.namespace_name, reference.hostname, {}});
}

}  // namespace culvert::state
