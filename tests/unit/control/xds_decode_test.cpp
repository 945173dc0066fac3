// SPDX-License-Identifier: Apache-2.0
// Messages of istiod to values: what each field becomes, and what is refused.
#include "control/xds_decode.hpp"

#include <functional>

#include <catch2/catch.hpp>

#include "control/grpc_channel.hpp"
#include "proto/authorization.pb.h"
#include "proto/workload.pb.h"

namespace culvert::control {
namespace {

namespace wds = istio::workload;
namespace rbac = istio::security;

ByteView view(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

wds::Address pod() {
  wds::Address address;
  wds::Workload& workload = *address.mutable_workload();
  workload.set_uid("Kubernetes//Pod/shop/cart");
  workload.set_name("cart");
  workload.set_namespace_("shop");
  workload.add_addresses(std::string("\x0a\x00\x00\x01", 4));
  return address;
}

Result<state::Workload> decoded(const wds::Address& address) {
  auto made = decode_address(view(address.SerializeAsString()));
  if (!made) return std::unexpected(made.error());
  return std::get<state::Workload>(*made);
}

}  // namespace

TEST_CASE("a workload with nothing but its name gets the API's defaults") {
  const state::Workload workload = decoded(pod()).value();
  CHECK(workload.identity.to_string() == "spiffe://cluster.local/ns/shop/sa/default");
  CHECK(workload.cluster == "Kubernetes");
  CHECK(workload.capacity == 1);
  CHECK(workload.protocol == state::Protocol::Tcp);
  CHECK(workload.addresses == std::vector{IpAddress::parse("10.0.0.1").value()});
  CHECK(workload.is_healthy);
  CHECK_FALSE(workload.waypoint);
}

TEST_CASE("each field of a workload is taken over") {
  wds::Address address = pod();
  wds::Workload& from = *address.mutable_workload();
  from.set_tunnel_protocol(wds::HBONE);
  from.set_trust_domain("td.example");
  from.set_service_account("cart");
  from.set_network("net");
  from.mutable_waypoint()->mutable_hostname()->set_namespace_("infra");
  from.mutable_waypoint()->mutable_hostname()->set_hostname("way.infra.svc.cluster.local");
  from.mutable_waypoint()->set_hbone_mtls_port(15008);
  from.mutable_network_gateway()->mutable_address()->set_address(std::string("\x0a\x00\x00\x02", 4));
  from.mutable_network_gateway()->set_hbone_mtls_port(15010);
  from.set_status(wds::UNHEALTHY);
  from.mutable_capacity()->set_value(7);
  from.set_network_mode(wds::HOST_NETWORK);
  from.add_authorization_policies("shop/deny");
  from.mutable_application_tunnel()->set_protocol(wds::ApplicationTunnel::PROXY);
  from.mutable_application_tunnel()->set_port(15088);
  wds::Port& port = *(*from.mutable_services())["shop/cart.shop.svc.cluster.local"].add_ports();
  port.set_service_port(80);
  port.set_target_port(8080);
  const state::Workload made = decoded(address).value();
  CHECK(made.identity.to_string() == "spiffe://td.example/ns/shop/sa/cart");
  CHECK(made.protocol == state::Protocol::Tunnel);
  CHECK(made.network == "net");
  REQUIRE(made.waypoint);
  CHECK(made.waypoint->hostname == "way.infra.svc.cluster.local");
  REQUIRE(made.network_gateway);
  CHECK(made.network_gateway->hbone_port == 15010);
  CHECK_FALSE(made.is_healthy);
  CHECK(made.capacity == 7);
  CHECK(made.is_host_network);
  CHECK(made.authorization_policies == std::vector<std::string>{"shop/deny"});
  CHECK(made.application_tunnel == state::ApplicationTunnel{true, 15088});
  REQUIRE(made.services.size() == 1);
  CHECK(made.services[0] == state::ServiceMembership{"shop", "cart.shop.svc.cluster.local", {{80, 8080}}});
}

TEST_CASE("what is wrong with a workload is an error that names the field and its value") {
  struct Case {
    std::function<void(wds::Workload&)> spoil;
    std::string_view says;
  };
  const auto [spoil, says] = GENERATE(values<Case>({
      {[](wds::Workload& w) { w.clear_uid(); }, "uid is empty"},
      {[](wds::Workload& w) { w.set_tunnel_protocol(wds::LEGACY_ISTIO_MTLS); }, "tunnel_protocol is 2"},
      {[](wds::Workload& w) { w.add_addresses("abc"); }, "addresses has 3 bytes"},
      {[](wds::Workload& w) { w.mutable_waypoint(); }, "waypoint has neither"},
      {[](wds::Workload& w) { (*w.mutable_services())["noslash"]; }, "\"noslash\""},
      {[](wds::Workload& w) { w.mutable_application_tunnel()->set_port(70'000); }, "70000"},
  }));
  wds::Address address = pod();
  spoil(*address.mutable_workload());
  const auto made = decoded(address);
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().message(), Catch::Contains(std::string(says)));
}

TEST_CASE("an account that no certificate can have does not lose its workload, nor anybody else's") {
  wds::Address address = pod();
  address.mutable_workload()->set_service_account("not valid");
  const auto made = decoded(address).value();
  CHECK(made.identity.service_account == "not valid");
  CHECK_FALSE(SpiffeId::parse(made.identity.to_string()));
}

TEST_CASE("an IPv4-mapped range counts its bits over all 16 bytes") {
  wds::Address address;
  wds::Service& from = *address.mutable_service();
  from.set_hostname("out.example.com");
  wds::NetworkAddress& range = *from.add_addresses();
  range.set_address(std::string("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x08\0\0", 16));
  range.set_length(112);
  auto made = decode_address(view(address.SerializeAsString()));
  REQUIRE(made);
  CHECK(std::get<state::Service>(*made).vips[0].prefix_bits == 16);
  range.set_length(128);
  made = decode_address(view(address.SerializeAsString()));
  REQUIRE(made);
  CHECK(std::get<state::Service>(*made).vips[0].is_whole());
  for (const unsigned bits : {95U, 129U}) {
    range.set_length(bits);
    CHECK_FALSE(decode_address(view(address.SerializeAsString())));
  }
}

TEST_CASE("a preference that only a newer control plane knows is left out") {
  wds::Address address;
  wds::Service& from = *address.mutable_service();
  from.set_hostname("web.example.com");
  from.mutable_load_balancing()->add_routing_preference(static_cast<wds::LoadBalancing::Scope>(7));
  from.mutable_load_balancing()->add_routing_preference(wds::LoadBalancing::ZONE);
  const auto made = decode_address(view(address.SerializeAsString()));
  REQUIRE(made);
  CHECK(std::get<state::Service>(*made).routing_preference == std::vector{state::LbScope::Zone});
}

TEST_CASE("a service may have ranges of addresses; a name that is no SPIFFE identity is left out") {
  wds::Address address;
  wds::Service& from = *address.mutable_service();
  from.set_name("out");
  from.set_namespace_("shop");
  from.set_hostname("out.example.com");
  wds::NetworkAddress& range = *from.add_addresses();
  range.set_address(std::string("\x0a\x08\x00\x00", 4));
  range.set_length(16);
  from.add_subject_alt_names("out.example.com");
  from.add_subject_alt_names("spiffe://cluster.local/ns/shop/sa/out");
  from.mutable_load_balancing()->add_routing_preference(wds::LoadBalancing::NETWORK);
  from.mutable_load_balancing()->set_mode(wds::LoadBalancing::FAILOVER);
  const auto made = std::get<state::Service>(decode_address(view(address.SerializeAsString())).value());
  REQUIRE(made.vips.size() == 1);
  CHECK(made.vips[0].prefix_bits == 16);
  CHECK(made.subject_alt_names.size() == 1);
  CHECK(made.lb_mode == state::LbMode::Failover);
  CHECK(made.routing_preference == std::vector{state::LbScope::Network});
  range.set_length(33);
  CHECK_FALSE(decode_address(view(address.SerializeAsString())));
}

TEST_CASE("bytes that are no message, and an address that is nothing, are errors") {
  CHECK_FALSE(decode_address(view("\xff\xff\xff")));
  CHECK_FALSE(decode_address({}));
  CHECK_FALSE(decode_authorization(view("\xff\xff\xff")));
}

TEST_CASE(
    "a policy keeps its structure; entries that say nothing are dropped, and ranges that cannot be read have nobody in "
    "them") {
  rbac::Authorization from;
  from.set_name("deny");
  from.set_namespace_("shop");
  from.set_scope(rbac::NAMESPACE);
  from.set_action(rbac::DENY);
  from.set_dry_run(true);
  rbac::Match& match = *from.add_rules()->add_clauses()->add_matches();
  match.add_principals()->set_prefix("td/ns/");
  match.add_principals()->mutable_presence();
  match.add_principals();
  match.add_source_ips()->set_address("xx");
  rbac::Address& mapped = *match.add_not_source_ips();
  mapped.set_address(std::string("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x05", 16));
  mapped.set_length(120);
  match.add_destination_ports(443);
  const state::Authorization made = decode_authorization(view(from.SerializeAsString())).value();
  CHECK(made.key() == "shop/deny");
  CHECK(made.scope == state::PolicyScope::Namespace);
  CHECK(made.action == state::PolicyAction::Deny);
  CHECK(made.is_dry_run);
  REQUIRE(made.rules.size() == 1);
  const state::PolicyMatch& kept = made.rules[0].clauses.at(0).matches.at(0);
  CHECK(kept.principals.size() == 2);
  REQUIRE(kept.source_ips.size() == 1);
  CHECK_FALSE(kept.source_ips[0].contains(IpAddress::parse("10.0.0.5").value()));
  CHECK_FALSE(kept.source_ips[0].contains(IpAddress::parse("::1").value()));
  CHECK(kept.not_source_ips == std::vector{Cidr::parse("10.0.0.5/24").value()});
  CHECK(kept.destination_ports == std::vector<std::uint16_t>{443});
  from.set_action(static_cast<rbac::Action>(5));
  CHECK_FALSE(decode_authorization(view(from.SerializeAsString())));
}

TEST_CASE("a control plane's address is a host and a port, with TLS unless it says http") {
  struct Case {
    std::string_view address;
    std::string_view host;
    std::uint16_t port;
    bool is_plaintext;
  };
  const auto [address, host, port, is_plaintext] = GENERATE(values<Case>({
      {"https://istiod.istio-system.svc:15012", "istiod.istio-system.svc", 15012, false},
      {"istiod:443", "istiod", 443, false},
      {"http://127.0.0.1", "127.0.0.1", 15010, true},
      {"https://[fd00::1]:15012/", "[fd00::1]", 15012, false},
      {"https://host", "host", 15012, false},
  }));
  const GrpcTarget target = parse_grpc_address(address).value();
  CHECK(target.host == host);
  CHECK(target.port == port);
  CHECK(target.is_plaintext == is_plaintext);
  for (const std::string_view bad : {"", "https://", "host:0", "host:x", "host:70000", "a b:1", "https://u@h:1"}) {
    INFO(bad);
    CHECK_FALSE(parse_grpc_address(bad));
  }
}

}  // namespace culvert::control
