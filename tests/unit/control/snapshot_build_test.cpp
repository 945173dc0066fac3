// SPDX-License-Identifier: Apache-2.0
// From the file's mesh, and this node's pods, to the snapshot.
#include "control/snapshot_build.hpp"

#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

using state::PeerAuthMode;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Config config() {
  return parse_config(R"(
cluster: c1
network: net1
trust_domain: mesh.example
mesh:
  peer_authentication: STRICT
  namespaces: [{name: shop, peer_authentication: PERMISSIVE}, {name: bank}]
  workloads:
    - {name: cart, namespace: shop, service_account: sa-cart, addresses: [10.0.0.1, "fd00::1"]}
    - {name: pay, namespace: shop, network: net2, cluster: c2, canonical_name: p, canonical_revision: v3, node: n2,
       protocol: TCP, peer_authentication: STRICT, addresses: [10.0.0.2]}
)",
                      "f")
      .value();
}

state::Workload local(std::string_view name, std::vector<IpAddress> addresses) {
  state::Workload made;
  made.uid = fmt::format("shop/{}", name);
  made.name = name;
  made.namespace_name = "shop";
  made.addresses = std::move(addresses);
  return made;
}

TEST_CASE("what a workload leaves out comes from the agent's own settings") {
  const auto snapshot = build_snapshot(config(), {}, 3).value();
  CHECK(snapshot->version() == 3);
  const state::WorkloadEntry* cart = snapshot->find(ip("10.0.0.1"));
  REQUIRE(cart != nullptr);
  CHECK(cart->uid() == "shop/cart");
  CHECK(cart->identity().to_string() == "spiffe://mesh.example/ns/shop/sa/sa-cart");
  CHECK(cart->cluster() == "c1");
  CHECK(cart->network() == "net1");
  CHECK(cart->canonical_name() == "cart");
  CHECK(cart->canonical_revision() == "latest");
  CHECK(cart->protocol() == state::Protocol::Tunnel);
  CHECK(snapshot->find(ip("fd00::1")) == cart);
  CHECK(snapshot->find(ip("10.0.0.2")) == nullptr);
  const state::WorkloadEntry* pay = snapshot->find("net2", ip("10.0.0.2"));
  REQUIRE(pay != nullptr);
  CHECK(pay->cluster() == "c2");
  CHECK(pay->canonical_name() == "p");
  CHECK(pay->canonical_revision() == "v3");
  CHECK(pay->node() == "n2");
  CHECK(pay->protocol() == state::Protocol::Tcp);
}

TEST_CASE("modes of mesh, namespace and workload reach the snapshot") {
  const auto snapshot = build_snapshot(config(), {}, 1).value();
  CHECK(snapshot->peer_auth("other", "x") == PeerAuthMode::Strict);
  CHECK(snapshot->peer_auth("bank", "x") == PeerAuthMode::Strict);
  CHECK(snapshot->peer_auth("shop", "cart") == PeerAuthMode::Permissive);
  CHECK(snapshot->peer_auth("shop", "pay") == PeerAuthMode::Strict);
}

TEST_CASE("this node's pods are workloads where the file does not speak of them") {
  const std::vector<state::Workload> pods = {local("web", {ip("10.0.0.9")}),
                                             local("thief", {ip("10.0.0.1"), ip("10.0.0.8")}),
                                             local("cart", {ip("10.0.0.7")}), local("twin", {ip("10.0.0.2")})};
  const auto snapshot = build_snapshot(config(), pods, 1).value();
  CHECK(snapshot->find(ip("10.0.0.9"))->name() == "web");
  CHECK(snapshot->find(ip("10.0.0.1"))->name() == "cart");
  CHECK(snapshot->find(ip("10.0.0.8"))->name() == "thief");
  CHECK(snapshot->find(ip("10.0.0.7")) == nullptr);         // the file has shop/cart, with other addresses
  CHECK(snapshot->find(ip("10.0.0.2"))->name() == "twin");  // the file's 10.0.0.2 is in another network
  CHECK(snapshot->workload_count() == 5);
}

TEST_CASE("the defaults give an empty snapshot that lets everything pass") {
  const auto snapshot = build_snapshot(Config{}, {}, 1).value();
  CHECK(snapshot->workload_count() == 0);
  CHECK(snapshot->peer_auth("default", "x") == PeerAuthMode::Permissive);
}

}  // namespace
}  // namespace culvert::control
