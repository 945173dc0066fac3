// SPDX-License-Identifier: Apache-2.0
// Choosing among the endpoints of a service: ports, preferences by place, weights, and the address. Pure; no allocation.
#include <algorithm>

#include "state/route_choice.hpp"

namespace culvert::state {
namespace {

std::uint16_t target_of(const std::vector<ServicePort>& ports, std::uint16_t port) noexcept {
  for (const ServicePort& one : ports) {
    if (one.port == port) return one.target_port;
  }
  return 0;
}

bool has_port(const std::vector<ServicePort>& ports, std::uint16_t port) noexcept {
  return std::ranges::find(ports, port, &ServicePort::port) != ports.end();
}

// Where a connection comes from, in the snapshot's numbers. NameTable::kNone and a null place equal nothing that an endpoint has.
struct Origin {
  std::uint32_t network = NameTable::kNone;
  std::uint32_t cluster = NameTable::kNone;
  const SharedPlace* place = nullptr;
};

Origin origin_of(const Snapshot& snapshot, const RouteSource& source) noexcept {
  Origin origin;
  if (source.workload != nullptr) {
    origin.cluster = source.workload->traits().cluster;
    origin.place = &source.workload->place();
  }
  origin.network = snapshot.network_number(source.network);
  return origin;
}

bool matches(LbScope scope, const Origin& from, const WorkloadEntry& endpoint) noexcept {
  if (scope == LbScope::Network) return from.network == endpoint.traits().network;
  if (scope == LbScope::Cluster) return from.cluster == endpoint.traits().cluster;
  if (from.place == nullptr) return false;
  const SharedPlace& there = endpoint.place();
  switch (scope) {
    case LbScope::Region: return from.place->region_number == there.region_number;
    case LbScope::Zone: return from.place->zone_number == there.zone_number;
    case LbScope::Subzone: return from.place->subzone_number == there.subzone_number;
    case LbScope::Node: return from.place == &there || from.place->node == there.node;
    default: return false;
  }
}

// The endpoints of one service that can serve one port for one source, and how well each suits.
class Candidates {
 public:
  static constexpr int kUnsuitable = -1;

  Candidates(const Snapshot& snapshot, const RouteSource& source, const Service& service, std::uint16_t port,
             PortRule rule)
      : snapshot_(snapshot),
        service_(service),
        of_service_(snapshot.traits(service)),
        endpoints_(snapshot.endpoints(service)),
        source_(origin_of(snapshot, source)),
        port_(port),
        target_(target_of(service.ports, port)),
        has_port_(has_port(service.ports, port)),
        rule_(rule) {}

  // No endpoint at all: the service does not have the port.
  [[nodiscard]] bool is_empty() const noexcept { return rule_ == PortRule::Standard && !has_port_; }
  // Every usable endpoint suits, and equally well.
  [[nodiscard]] bool is_all() const noexcept {
    const bool ports_suit = rule_ == PortRule::Standard ? target_ != 0 : has_port_;
    return ports_suit && !has_preferences() && endpoints_.all_have_addresses;
  }
  [[nodiscard]] int rank(const EndpointRow& row) const noexcept {
    const WorkloadEntry& endpoint = snapshot_.workload(row.workload);
    // Without an address it is reached through its network's gateway only.
    if (!endpoint.is_addressable() &&
        (endpoint.traits().network == source_.network || !endpoint.traits().has_gateway)) {
      return kUnsuitable;
    }
    if (rule_ == PortRule::Standard) {
      if (target_ == 0 && !has_own_port(row)) return kUnsuitable;
    } else if (!has_port_ && !endpoint.traits().has_application_tunnel) {
      return kUnsuitable;
    }
    return has_preferences() ? place_rank(endpoint) : 0;
  }
  [[nodiscard]] std::uint16_t target_port(const EndpointRow& row) const noexcept {
    if (has_own_port(row)) return target_of(*endpoints_.own_ports(row), port_);
    if (target_ != 0) return target_;
    const std::optional<ApplicationTunnel>& tunnel = snapshot_.workload(row.workload).application_tunnel();
    return tunnel && tunnel->port != 0 ? port_ : 0;
  }

 private:
  [[nodiscard]] bool has_own_port(const EndpointRow& row) const noexcept {
    const std::vector<ServicePort>* own = endpoints_.own_ports(row);
    return own != nullptr && has_port(*own, port_);
  }
  [[nodiscard]] bool has_preferences() const noexcept {
    return of_service_.lb_mode == LbMode::Strict || of_service_.lb_mode == LbMode::Failover;
  }
  // How many preferences are met in a row from the first. Where the network comes first it outweighs all others together, and
  // endpoints of other networks are still told apart by the rest.
  [[nodiscard]] int place_rank(const WorkloadEntry& endpoint) const noexcept {
    const std::vector<LbScope>& wanted = service_.routing_preference;
    const bool is_network_first = !wanted.empty() && wanted.front() == LbScope::Network;
    int met = 0;
    int bonus = 0;
    for (const LbScope scope : wanted) {
      const bool is_met = matches(scope, source_, endpoint);
      if (is_met) ++met;
      if (scope == LbScope::Network && is_network_first) {
        if (is_met) bonus = static_cast<int>(wanted.size()) - 1;
      } else if (!is_met) {
        break;
      }
    }
    if (service_.lb_mode == LbMode::Strict && met != static_cast<int>(wanted.size())) return kUnsuitable;
    return met + bonus;
  }

  const Snapshot& snapshot_;
  const Service& service_;
  const ServiceTraits& of_service_;
  const EndpointTable& endpoints_;
  Origin source_;
  std::uint16_t port_;
  std::uint16_t target_;  // of the service; 0: each endpoint says it
  bool has_port_;
  PortRule rule_;
};

std::uint64_t weight_of(std::span<const EndpointRow> rows, std::size_t i) noexcept {
  return rows[i].weight_end - (i == 0 ? 0 : rows[i - 1].weight_end);
}

// By capacity among all: the sums stand ready.
const EndpointRow* pick_of_all(std::span<const EndpointRow> rows, RouteRandom& random) {
  if (rows.empty() || rows.back().weight_end == 0) return nullptr;
  if (rows.size() == 1) return rows.data();
  const std::uint64_t drawn = pick_below(rows.back().weight_end, random);
  return &*std::ranges::upper_bound(rows, drawn, {}, &EndpointRow::weight_end);
}

// By capacity among those of the highest rank.
const EndpointRow* pick_of_best(const Candidates& candidates, std::span<const EndpointRow> rows, RouteRandom& random) {
  int best = Candidates::kUnsuitable;
  std::uint64_t weight = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const int rank = candidates.rank(rows[i]);
    if (rank < best || rank == Candidates::kUnsuitable) continue;
    if (rank > best) weight = 0;
    best = rank;
    weight += weight_of(rows, i);
  }
  if (weight == 0) return nullptr;
  std::uint64_t drawn = pick_below(weight, random);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (candidates.rank(rows[i]) != best) continue;
    const std::uint64_t own = weight_of(rows, i);
    if (drawn < own) return &rows[i];
    drawn -= own;
  }
  return nullptr;
}

}  // namespace

std::uint64_t pick_below(std::uint64_t bound, RouteRandom& random) {
  constexpr std::uint32_t kSteps = 0xffff'ffff;
  if (bound <= kSteps) return random.below(static_cast<std::uint32_t>(bound));
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(random.below(kSteps)) * bound / kSteps);
}

Upstream choose_endpoint(const Snapshot& snapshot, const RouteSource& source, const Service& service,
                         std::uint16_t port, PortRule rule, RouteRandom& random) {
  const Candidates candidates(snapshot, source, service, port, rule);
  if (candidates.is_empty()) return {};
  const std::span<const EndpointRow> rows = snapshot.usable_endpoints(service);
  const EndpointRow* row = candidates.is_all() ? pick_of_all(rows, random) : pick_of_best(candidates, rows, random);
  if (row == nullptr) return {};
  const std::uint16_t target = candidates.target_port(*row);
  if (target == 0) return {};
  return {&snapshot.workload(row->workload), &service, target};
}

const IpAddress* choose_address(const Snapshot& snapshot, const WorkloadEntry& workload, const Service* service,
                                const IpAddress& dialled) noexcept {
  const IpFamilies families = service == nullptr ? IpFamilies::Automatic : snapshot.traits(*service).ip_families;
  const auto is_allowed = [families](const IpAddress& address) {
    return families != (address.is_v4() ? IpFamilies::V6Only : IpFamilies::V4Only);
  };
  if (const IpAddress* sole = workload.sole_address(); sole != nullptr) {
    return *sole == dialled || is_allowed(*sole) ? sole : nullptr;
  }
  const std::span<const IpAddress> addresses = workload.addresses();
  if (const auto same = std::ranges::find(addresses, dialled); same != addresses.end()) return &*same;
  const IpAddress* first = nullptr;
  for (const IpAddress& address : addresses) {
    if (!is_allowed(address)) continue;
    if (address.is_v4() == dialled.is_v4()) return &address;
    if (first == nullptr) first = &address;
  }
  return first;
}

}  // namespace culvert::state
