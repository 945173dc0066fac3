// SPDX-License-Identifier: Apache-2.0
// Measurements, hidden: unit_state "[.bench]" in a release build. The whole decision, over destinations in random order so that the caches
// help as little as they do on a busy node.
#include <cstdio>
#include <random>

#include "base/clock.hpp"
#include "fast_random.hpp"
#include "mesh.hpp"

namespace culvert::state {
namespace {

IpAddress numbered(std::uint32_t base, std::uint32_t i) { return IpAddress::v4(in_addr{htonl(base + i)}); }

std::shared_ptr<const Snapshot> mesh_of(std::uint32_t workloads, std::uint32_t endpoints, LbMode mode) {
  SnapshotBuilder builder;
  Service web;
  std::uint32_t services = 0;
  for (std::uint32_t i = 0; i < workloads; ++i) {
    Workload made = workload(std::to_string(i), {numbered(0x0a00'0001U, i)});
    made.zone = fmt::format("zone-{}", i % 3);
    made.region = "region";
    made.node = fmt::format("node-{}", i % 500);
    REQUIRE(builder.add(std::move(made)));
    if (web.endpoints.empty()) {
      web = service(fmt::format("web-{}", services), {}, {{80, 8080}, {443, 8443}}, {});
      web.vips = {{{}, numbered(0xac10'0000U, services)}};
      web.lb_mode = mode;
      web.routing_preference = {LbScope::Network, LbScope::Region, LbScope::Zone};
      ++services;
    }
    web.endpoints.push_back({fmt::format("shop/{}", i), {}});
    if (web.endpoints.size() < endpoints && i + 1 < workloads) continue;
    REQUIRE(builder.add(std::exchange(web, {})));
  }
  return std::move(builder).build(1);
}

void measure(const char* name, const Snapshot& snapshot, std::uint32_t base, std::uint32_t count, std::uint16_t port) {
  constexpr std::uint32_t kRounds = 400'000;
  std::vector<Endpoint> destinations;
  std::mt19937 shuffle(1);
  for (std::uint32_t i = 0; i < 65'536; ++i) {
    destinations.push_back({numbered(base, std::uniform_int_distribution<std::uint32_t>(0, count - 1)(shuffle)), port});
  }
  const WorkloadEntry& client = snapshot.workload(0);
  const RouteSource source{client.addresses()[0], client.network(), client.namespace_name(), &client.identity(),
                           &client};
  bench::FastRandom random;
  std::uint64_t tunnels = 0;
  const std::uint64_t start_ns = monotonic_ns();
  for (std::uint32_t i = 0; i < kRounds; ++i) {
    tunnels +=
        route(snapshot, source, destinations[i % destinations.size()], random).kind == RouteKind::Tunnel ? 1U : 0U;
  }
  const auto spent_us = static_cast<double>(monotonic_ns() - start_ns) / 1e3;
  std::printf("  %-34s %6.3f us a decision\n", name, spent_us / kRounds);
  if (port == 80) CHECK(tunnels == kRounds);
}

TEST_CASE("cost of a routing decision", "[.bench]") {
  for (const std::uint32_t workloads : {10U, 100'000U}) {
    for (const std::uint32_t endpoints : {10U, 1'000U}) {
      if (endpoints > workloads) continue;
      const std::uint32_t services = workloads / endpoints;
      std::printf("%u workloads, %u services of %u endpoints\n", workloads, services, endpoints);
      const auto plain = mesh_of(workloads, endpoints, LbMode::Unspecified);
      measure("workload by address", *plain, 0x0a00'0001U, workloads, 80);
      measure("service", *plain, 0xac10'0000U, services, 80);
      measure("not in the mesh", *plain, 0xc000'0000U, 60'000, 81);
      const auto failover = mesh_of(workloads, endpoints, LbMode::Failover);
      measure("service, FAILOVER by three places", *failover, 0xac10'0000U, services, 80);
    }
  }
}

TEST_CASE("cost of building a snapshot", "[.bench]") {
  const std::uint64_t start_ns = monotonic_ns();
  const auto snapshot = mesh_of(100'000, 10, LbMode::Unspecified);
  std::printf("100,000 workloads and 10,000 services, with making them up: %.0f ms\n",
              static_cast<double>(monotonic_ns() - start_ns) / 1e6);
  CHECK(snapshot->workload_count() == 100'000);
}

}  // namespace
}  // namespace culvert::state
