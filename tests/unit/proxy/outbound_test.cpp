// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound.hpp"

#include <catch2/catch.hpp>

#include "state/snapshot_builder.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

}  // namespace

TEST_CASE("what only this agent knows is asked before the mesh") {
  state::SnapshotBuilder builder;
  const auto snapshot = std::move(builder).build(1);
  WorkerPod pod;
  pod.setup.addresses = {IpAddress::parse("10.1.0.5").value(), IpAddress::parse("2001:db8::5").value()};
  struct Case {
    const char* description;
    const char* destination;
    bool is_forbidden;
  };
  const Case cases[] = {
      {"another address is looked up", "10.2.0.7:80", false},
      {"also over IPv6", "[2001:db8::7]:80", false},
      {"the pod itself is never dialled through the agent", "10.1.0.5:15001", true},
      {"nor by its other address", "[2001:db8::5]:80", true},
      {"nor by loopback", "127.0.0.1:15001", true},
      {"nor by the unspecified address", "0.0.0.0:15001", true},
  };
  for (const Case& one : cases) {
    INFO(one.description);
    const auto answer = forbidden(snapshot.get(), pod, Endpoint::parse(one.destination).value());
    REQUIRE(answer.has_value() == one.is_forbidden);
    if (answer) CHECK(answer->reason == CloseReason::SelfCall);
  }
}

TEST_CASE("before the mesh is known nothing is passed through") {
  const WorkerPod pod;
  const auto answer = forbidden(nullptr, pod, Endpoint::parse("10.2.0.7:80").value());
  REQUIRE(answer.has_value());
  CHECK(answer->reason == CloseReason::Internal);
}

}  // namespace culvert::proxy
