// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound.hpp"

#include <catch2/catch.hpp>

namespace culvert::proxy {
namespace {

using Kind = OutboundDecision::Kind;

std::shared_ptr<const state::Snapshot> mesh() {
  state::SnapshotBuilder builder;
  const auto add = [&](const char* name, const char* address, state::Protocol protocol) {
    state::Workload workload;
    workload.uid = std::string("shop/") + name;
    workload.name = name;
    workload.namespace_name = "shop";
    workload.identity = SpiffeId{"cluster.local", "shop", name};
    workload.protocol = protocol;
    workload.addresses = {IpAddress::parse(address).value()};
    REQUIRE(builder.add(std::move(workload)).has_value());
  };
  add("cart", "10.2.0.7", state::Protocol::Tunnel);
  add("legacy", "10.2.0.8", state::Protocol::Tcp);
  add("six", "2001:db8::7", state::Protocol::Tunnel);
  return std::move(builder).build(1);
}

}  // namespace

TEST_CASE("an outbound connection goes where the mesh says") {
  const auto snapshot = mesh();
  WorkerPod pod;
  pod.setup.addresses = {IpAddress::parse("10.1.0.5").value(), IpAddress::parse("2001:db8::5").value()};
  struct Case {
    const char* description;
    const char* destination;
    Kind kind;
    const char* next_hop;
  };
  const Case cases[] = {
      {"a tunnel workload is reached on port 15008", "10.2.0.7:80", Kind::Tunnel, "10.2.0.7:15008"},
      {"also over IPv6", "[2001:db8::7]:80", Kind::Tunnel, "[2001:db8::7]:15008"},
      {"a workload without a tunnel is reached plainly", "10.2.0.8:80", Kind::Passthrough, "10.2.0.8:80"},
      {"an unknown address is passed through", "192.0.2.1:443", Kind::Passthrough, "192.0.2.1:443"},
      {"the pod itself is never dialled through the agent", "10.1.0.5:15001", Kind::SelfCall, "10.1.0.5:15001"},
      {"nor by its other address", "[2001:db8::5]:80", Kind::SelfCall, "[2001:db8::5]:80"},
      {"nor by loopback", "127.0.0.1:15001", Kind::SelfCall, "127.0.0.1:15001"},
      {"nor by the unspecified address", "0.0.0.0:15001", Kind::SelfCall, "0.0.0.0:15001"},
  };
  for (const Case& one : cases) {
    INFO(one.description);
    const OutboundDecision decision = decide_outbound(snapshot.get(), pod, Endpoint::parse(one.destination).value());
    CHECK(decision.kind == one.kind);
    CHECK(decision.next_hop == Endpoint::parse(one.next_hop).value());
    CHECK((decision.workload != nullptr) == (one.kind == Kind::Tunnel));
  }
}

TEST_CASE("before the mesh is known nothing is passed through") {
  const WorkerPod pod;
  CHECK(decide_outbound(nullptr, pod, Endpoint::parse("10.2.0.7:80").value()).kind == Kind::Unready);
}

}  // namespace culvert::proxy
