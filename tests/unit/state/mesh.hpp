// SPDX-License-Identifier: Apache-2.0
// Small meshes for the tests of routing: workloads and services with only what matters written out, and randomness by script.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "state/route.hpp"
#include "state/snapshot_builder.hpp"

namespace culvert::state {

inline IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
inline Endpoint at(std::string_view text) { return Endpoint::parse(text).value(); }
inline SpiffeId identity(std::string_view service_account) {
  return SpiffeId::make("cluster.local", "shop", service_account).value();
}

inline Workload workload(std::string_view name, std::vector<IpAddress> addresses = {}) {
  Workload made;
  made.uid = fmt::format("shop/{}", name);
  made.name = name;
  made.namespace_name = "shop";
  made.identity = identity(name);
  made.addresses = std::move(addresses);
  return made;
}

inline Service service(std::string_view name, std::string_view vip, std::vector<ServicePort> ports,
                       const std::vector<std::string_view>& endpoints) {
  Service made;
  made.name = name;
  made.namespace_name = "shop";
  made.hostname = fmt::format("{}.shop.svc.cluster.local", name);
  if (!vip.empty()) made.vips = {{{}, ip(vip)}};
  made.ports = std::move(ports);
  for (const std::string_view one : endpoints) made.endpoints.push_back({fmt::format("shop/{}", one), {}});
  return made;
}

inline GatewayRef by_address(std::string_view address, std::string_view network = {}) {
  GatewayRef made;
  made.address = NetworkAddress{std::string(network), ip(address)};
  return made;
}
inline GatewayRef by_name(std::string_view service_name, std::uint16_t port = 15008) {
  GatewayRef made;
  made.namespace_name = "shop";
  made.hostname = fmt::format("{}.shop.svc.cluster.local", service_name);
  made.hbone_port = port;
  return made;
}

// Gives the numbers of a script in turn (each brought below the bound), then zeros.
class ScriptedRandom final : public RouteRandom {
 public:
  ScriptedRandom() = default;
  explicit ScriptedRandom(std::vector<std::uint32_t> numbers) : numbers_(std::move(numbers)) {}
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) override {
    REQUIRE(bound > 0);
    bounds.push_back(bound);
    return next_ < numbers_.size() ? numbers_[next_++] % bound : 0;
  }
  std::vector<std::uint32_t> bounds;

 private:
  std::vector<std::uint32_t> numbers_;
  std::size_t next_ = 0;
};

// A mesh and a client in it: "client" at 10.0.0.1, unless another is named.
class Mesh {
 public:
  explicit Mesh(std::vector<Workload> workloads, std::vector<Service> services = {}, std::string_view network = {}) {
    SnapshotBuilder builder(network);
    workloads.push_back(workload("client", {ip("10.0.0.1"), ip("fd00::1")}));
    for (Workload& one : workloads) REQUIRE(builder.add(std::move(one)));
    for (Service& one : services) REQUIRE(builder.add(std::move(one)));
    snapshot = std::move(builder).build(1);
  }

  [[nodiscard]] RouteSource source(std::string_view name = "client") const {
    const WorkloadEntry* found = named(name);
    return {found->addresses().front(), found->network(), found->namespace_name(), &found->identity(), found};
  }
  [[nodiscard]] const WorkloadEntry* named(std::string_view name) const {
    const WorkloadEntry* found = snapshot->find_uid(fmt::format("shop/{}", name));
    REQUIRE(found != nullptr);
    return found;
  }
  [[nodiscard]] Route route(std::string_view destination, std::string_view from = "client") {
    return state::route(*snapshot, source(from), at(destination), random);
  }

  std::shared_ptr<const Snapshot> snapshot;
  ScriptedRandom random;
};

// "KIND next_hop target workload", as far as each is there: the essence of a route in one line.
inline std::string brief(const Route& route) {
  static constexpr std::string_view kKinds[] = {"passthrough", "plain",   "tunnel", "gateway",
                                                "resolve",     "refused", "ask"};
  std::string out(kKinds[static_cast<std::size_t>(route.kind)]);
  if (route.kind == RouteKind::Refused) return out + ": " + std::string(to_string(route.refusal));
  out += " " + route.next_hop.to_string();
  if (route.kind == RouteKind::Tunnel) out += " for " + route.target.to_string();
  if (route.kind == RouteKind::Gateway) out += fmt::format(" for {}:{}", route.authority_host, route.authority_port);
  if (route.kind == RouteKind::Resolve) out += " of " + std::string(route.dns_name);
  if (route.workload != nullptr) out += fmt::format(" at {}", route.workload->name());
  return out;
}

}  // namespace culvert::state
