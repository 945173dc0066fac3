// SPDX-License-Identifier: Apache-2.0
// The snapshot: lookups by address and the order of peer-authentication modes.
#include "state/snapshot_builder.hpp"

#include <catch2/catch.hpp>

namespace culvert::state {
namespace {

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Workload workload(std::string_view name, std::vector<IpAddress> addresses) {
  Workload made;
  made.uid = fmt::format("shop/{}", name);
  made.name = name;
  made.namespace_name = "shop";
  made.identity = SpiffeId::make("cluster.local", "shop", name).value();
  made.addresses = std::move(addresses);
  return made;
}

TEST_CASE("a workload is found by each of its addresses, and nothing is found by another") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1"), ip("fd00::1")})));
  REQUIRE(builder.add(workload("pay", {ip("10.0.0.2")})));
  const auto snapshot = std::move(builder).build(7);
  CHECK(snapshot->version() == 7);
  CHECK(snapshot->workload_count() == 2);
  REQUIRE(snapshot->find(ip("10.0.0.1")) != nullptr);
  CHECK(snapshot->find(ip("10.0.0.1"))->name() == "cart");
  CHECK(snapshot->find(ip("fd00::1")) == snapshot->find(ip("10.0.0.1")));
  CHECK(snapshot->find(ip("10.0.0.2"))->name() == "pay");
  CHECK(snapshot->find(ip("10.0.0.3")) == nullptr);
  CHECK(snapshot->find(IpAddress()) == nullptr);
}

TEST_CASE("an IPv4 address and its v4-mapped IPv6 form are one address") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1")})));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->find(ip("::ffff:10.0.0.1")) != nullptr);
}

TEST_CASE("canonical name and revision default to the name and latest") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1")})));
  Workload named = workload("pay", {ip("10.0.0.2")});
  named.canonical_name = "payments";
  named.canonical_revision = "v2";
  REQUIRE(builder.add(named));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->find(ip("10.0.0.1"))->canonical_name() == "cart");
  CHECK(snapshot->find(ip("10.0.0.1"))->canonical_revision() == "latest");
  CHECK(snapshot->find(ip("10.0.0.2"))->canonical_name() == "payments");
  CHECK(snapshot->find(ip("10.0.0.2"))->canonical_revision() == "v2");
}

TEST_CASE("an address that two workloads claim is refused with both names, and nothing of the second is kept") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1")})));
  const Result<void> refused = builder.add(workload("pay", {ip("10.0.0.9"), ip("10.0.0.1")}));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::AlreadyExists);
  CHECK_THAT(refused.error().message(),
             Catch::Contains("10.0.0.1") && Catch::Contains("shop/cart") && Catch::Contains("shop/pay"));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->find(ip("10.0.0.9")) == nullptr);
  CHECK(snapshot->find(ip("10.0.0.1"))->name() == "cart");
}

TEST_CASE("a uid that stands twice is refused with both names") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1")})));
  Workload second = workload("pay", {ip("10.0.0.2")});
  second.uid = "shop/cart";
  const Result<void> refused = builder.add(second);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message(), Catch::Contains("shop/pay") && Catch::Contains("shop/cart"));
}

TEST_CASE("an address that one workload lists twice is one address") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(workload("cart", {ip("10.0.0.1"), ip("10.0.0.1")})));
  CHECK(std::move(builder).build(1)->find(ip("10.0.0.1")) != nullptr);
}

TEST_CASE("a workload's mode comes before its namespace's, and that before the mesh's") {
  SnapshotBuilder builder;
  builder.set_mesh_mode(PeerAuthMode::Strict);
  builder.set_namespace_mode("shop", PeerAuthMode::Permissive);
  builder.set_workload_mode("shop", "pay", PeerAuthMode::Strict);
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->peer_auth("shop", "pay") == PeerAuthMode::Strict);
  CHECK(snapshot->peer_auth("shop", "cart") == PeerAuthMode::Permissive);
  CHECK(snapshot->peer_auth("bank", "pay") == PeerAuthMode::Strict);
  CHECK(snapshot->peer_auth("", "") == PeerAuthMode::Strict);
}

TEST_CASE("without any setting the mode is PERMISSIVE") {
  const auto snapshot = SnapshotBuilder().build(1);
  CHECK(snapshot->peer_auth("shop", "pay") == PeerAuthMode::Permissive);
}

TEST_CASE("a slash in a name does not confuse two workloads") {
  SnapshotBuilder builder;
  builder.set_workload_mode("a/b", "c", PeerAuthMode::Strict);
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->peer_auth("a/b", "c") == PeerAuthMode::Strict);
  CHECK(snapshot->peer_auth("a", "b/c") == PeerAuthMode::Permissive);
}

TEST_CASE("a hundred thousand workloads are each found") {
  SnapshotBuilder builder;
  constexpr std::uint32_t kCount = 100'000;
  const auto address = [](std::uint32_t i) { return IpAddress::v4(in_addr{htonl(0x0a00'0000U + i)}); };
  for (std::uint32_t i = 1; i <= kCount; ++i) {
    Workload made;
    made.uid = std::to_string(i);
    made.addresses = {address(i)};
    REQUIRE(builder.add(std::move(made)));
  }
  const auto snapshot = std::move(builder).build(1);
  std::uint32_t found = 0;
  for (std::uint32_t i = 1; i <= kCount; ++i) {
    const WorkloadEntry* workload = snapshot->find(address(i));
    found += workload != nullptr && workload->uid() == std::to_string(i) ? 1U : 0U;
  }
  CHECK(found == kCount);
}

TEST_CASE("protocols and modes have the workload API's words") {
  CHECK(to_string(Protocol::Tcp) == "TCP");
  CHECK(to_string(Protocol::Tunnel) == "HBONE");
  CHECK(to_string(PeerAuthMode::Permissive) == "PERMISSIVE");
  CHECK(to_string(PeerAuthMode::Strict) == "STRICT");
}

}  // namespace
}  // namespace culvert::state
