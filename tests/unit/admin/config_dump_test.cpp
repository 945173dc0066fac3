// SPDX-License-Identifier: Apache-2.0
// /config_dump in the form that ztunnel has and istioctl reads.
#include <algorithm>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "admin/base64.hpp"
#include "dump_support.hpp"

namespace culvert::admin {
namespace {

using Json = nlohmann::json;

Json dumped(state::Store& store, std::vector<Pod> pods = {}, const std::vector<telemetry::ConnectionLog>& rows = {},
            std::vector<DumpIdentity> identities = {}) {
  auto source = std::make_unique<StoreDump>(store);
  source->identities = std::move(identities);
  ConfigDump dump(std::move(source), dump_pods(std::move(pods), rows), nullptr);
  const std::string text = whole(dump);
  INFO(text);
  const Json parsed = Json::parse(text, nullptr, false);
  REQUIRE_FALSE(parsed.is_discarded());
  return parsed;
}

state::GatewayRef by_name(const char* namespace_name, const char* hostname) {
  state::GatewayRef reference;
  reference.namespace_name = namespace_name;
  reference.hostname = hostname;
  return reference;
}

}  // namespace

TEST_CASE("an empty mesh is a dump with every key of ztunnel's") {
  state::Store store;
  const Json dump = dumped(store);
  for (const char* key : {"workloads", "services", "policies", "certificates"}) CHECK(dump[key] == Json::array());
  for (const char* key : {"stagedServices", "workloadState"}) CHECK(dump[key] == Json::object());
  CHECK(dump["staticConfig"] ==
        Json({{"workloads", Json::array()}, {"policies", Json::array()}, {"services", Json::array()}}));
  CHECK(dump["version"]["version"] == "1.2.3");
  CHECK(dump["config"]["localNode"] == "node-a");
  CHECK(dump.size() == 9);
}

TEST_CASE("a pod that its node knew before the control plane named it is one workload") {
  state::Store store;
  state::Workload early = workload("cart", "10.1.0.5");
  early.uid = "culvert-local/shop/cart";
  early.is_provisional = true;
  store.upsert(early);
  CHECK(dumped(store)["workloads"][0]["uid"] == early.uid);
  store.upsert(workload("cart", "10.1.0.5"));
  const Json named = dumped(store)["workloads"];
  REQUIRE(named.size() == 1);
  CHECK(named[0]["uid"] == "Kubernetes//Pod/shop/cart");
}

TEST_CASE("a workload has ztunnel's members, and lacks those with ztunnel's defaults") {
  state::Store store("net");
  store.upsert(workload("plain", "10.1.0.5"));
  const Json plain = dumped(store)["workloads"][0];
  CHECK(plain == Json({{"workloadIps", {"10.1.0.5"}},
                       {"protocol", "HBONE"},
                       {"networkMode", "Standard"},
                       {"uid", "Kubernetes//Pod/shop/plain"},
                       {"name", "plain"},
                       {"namespace", "shop"},
                       {"trustDomain", "cluster.local"},
                       {"serviceAccount", "plain"},
                       {"network", "net"},
                       {"workloadName", "plain"},
                       {"workloadType", "pod"},
                       {"canonicalName", "plain"},
                       {"canonicalRevision", "latest"},
                       {"status", "Healthy"},
                       {"clusterId", "Kubernetes"},
                       {"capacity", 1}}));
}

TEST_CASE("a workload with everything shows everything") {
  state::Store store;
  state::Workload full = workload("full", "fd00::5");
  full.waypoint = by_name("shop", "waypoint.shop.svc.cluster.local");
  full.network_gateway =
      state::GatewayRef{state::NetworkAddress{"far", IpAddress::parse("192.0.2.1").value()}, {}, {}, 15009};
  full.protocol = state::Protocol::Tcp;
  full.is_host_network = true;
  full.is_tunnel_native = true;
  full.is_healthy = false;
  full.type = state::WorkloadType::Deployment;
  full.workload_name = "full-deployment";
  full.canonical_name = "full";
  full.canonical_revision = "v1";
  full.hostname = "full.example";
  full.node = "node-a";
  full.application_tunnel = state::ApplicationTunnel{true, 15088};
  full.authorization_policies = {"shop/deny"};
  full.cluster = "one";
  full.region = "r";
  full.zone = "z";
  full.capacity = 7;
  full.services = {{"shop", "cart.shop.svc.cluster.local", {}}};
  store.upsert(full);
  const Json row = dumped(store)["workloads"][0];
  CHECK(row["waypoint"] == Json({{"destination", "shop/waypoint.shop.svc.cluster.local"}, {"hboneMtlsPort", 15008}}));
  CHECK(row["networkGateway"] == Json({{"destination", "far/192.0.2.1"}, {"hboneMtlsPort", 15009}}));
  CHECK(row["protocol"] == "TCP");
  CHECK(row["networkMode"] == "HostNetwork");
  CHECK(row["nativeTunnel"] == true);
  CHECK(row["status"] == "Unhealthy");
  CHECK(row["workloadType"] == "deployment");
  CHECK(row["workloadName"] == "full-deployment");
  CHECK(row["canonicalRevision"] == "v1");
  CHECK(row["hostname"] == "full.example");
  CHECK(row["node"] == "node-a");
  CHECK(row["applicationTunnel"] == Json({{"protocol", "PROXY"}, {"port", 15088}}));
  CHECK(row["authorizationPolicies"] == Json({"shop/deny"}));
  CHECK(row["clusterId"] == "one");
  CHECK(row["locality"] == Json({{"region", "r"}, {"zone", "z"}}));
  CHECK(row["services"] == Json({"shop/cart.shop.svc.cluster.local"}));
  CHECK(row["capacity"] == 7);
}

TEST_CASE("a service has its addresses with networks, its ports and its endpoints by uid") {
  state::Store store("net");
  state::Workload one = workload("one", "10.1.0.5");
  one.services = {{"shop", "cart", {{80, 8080}}}};
  state::Workload two = workload("two", "10.1.0.6");
  two.services = {{"shop", "cart", {}}};
  two.is_healthy = false;
  store.upsert(one);
  store.upsert(two);
  state::Service service;
  service.name = "cart";
  service.namespace_name = "shop";
  service.hostname = "cart";
  service.vips = {{"", IpAddress::parse("10.96.0.10").value()}, {"far", IpAddress::parse("10.0.0.0").value(), 8}};
  service.ports = {{80, 8000}, {443, 0}};
  service.health_policy = state::HealthPolicy::AllowAll;
  service.lb_mode = state::LbMode::Failover;
  service.routing_preference = {state::LbScope::Zone};
  service.ip_families = state::IpFamilies::Dual;
  service.visibility = state::Visibility::Namespace;
  service.is_canonical = true;
  service.waypoint = by_name("shop", "waypoint");
  service.weighted_waypoints = {{by_name("shop", "second"), 20}};
  service.subject_alt_names = {SpiffeId::make("td", "a", "b").value()};
  store.upsert(service);
  const Json row = dumped(store)["services"][0];
  CHECK(row["vips"] == Json({"net/10.96.0.10"}));
  CHECK(row["cidrVips"] == Json::array({Json({{"network", "far"}, {"cidr", "10.0.0.0/8"}})}));
  CHECK(row["ports"] == Json({{"80", 8000}, {"443", 0}}));
  REQUIRE(row["endpoints"].size() == 2);
  CHECK(row["endpoints"]["Kubernetes//Pod/shop/one"] ==
        Json({{"workloadUid", "Kubernetes//Pod/shop/one"}, {"port", {{"80", 8080}}}, {"status", "Healthy"}}));
  CHECK(row["endpoints"]["Kubernetes//Pod/shop/two"]["port"] == Json({{"80", 8000}, {"443", 0}}));
  CHECK(row["endpoints"]["Kubernetes//Pod/shop/two"]["status"] == "Unhealthy");
  CHECK(row["loadBalancer"] ==
        Json({{"routingPreferences", {"Zone"}}, {"mode", "Failover"}, {"healthPolicy", "AllowAll"}}));
  CHECK(row["ipFamilies"] == "Dual");
  CHECK(row["visibility"] == "Namespace");
  CHECK(row["canonical"] == true);
  CHECK(row["waypoint"]["destination"] == "shop/waypoint");
  CHECK(row["weightedWaypoints"][0]["weight"] == 20);
  CHECK(row["weightedWaypoints"][0]["destination"]["destination"] == "shop/second");
  CHECK(row["subjectAltNames"] == Json({"spiffe://td/ns/a/sa/b"}));
}

TEST_CASE("endpoints of services that have not come are staged, service by service") {
  state::Store store;
  state::Workload one = workload("one", "10.1.0.5");
  one.services = {{"shop", "known", {}}, {"shop", "later", {}}, {"zoo", "later", {}}};
  store.upsert(one);
  state::Service known;
  known.name = known.hostname = "known";
  known.namespace_name = "shop";
  store.upsert(known);
  const Json staged = dumped(store)["stagedServices"];
  CHECK(staged.size() == 2);
  CHECK(staged["shop/later"].contains("Kubernetes//Pod/shop/one"));
  CHECK(staged["zoo/later"]["Kubernetes//Pod/shop/one"]["status"] == "Healthy");
}

TEST_CASE("a policy shows each kind of match under ztunnel's names, in the order of keys") {
  state::Store store;
  state::Authorization deny;
  deny.name = "deny";
  deny.namespace_name = "shop";
  deny.scope = state::PolicyScope::WorkloadSelector;
  deny.action = state::PolicyAction::Deny;
  deny.is_dry_run = true;
  using Kind = state::StringMatch::Kind;
  state::PolicyMatch match;
  match.namespaces = {{Kind::Exact, "a"}, {Kind::Prefix, "b"}};
  match.not_namespaces = {{Kind::Suffix, "c"}};
  match.principals = {{Kind::Presence, ""}};
  match.not_principals = {{Kind::Exact, "p"}};
  match.service_accounts = {{"ns", "sa"}};
  match.not_service_accounts = {{"ns", "other"}};
  match.source_ips = {Cidr::parse("10.0.0.0/8").value()};
  match.not_source_ips = {Cidr::parse("fd00::/8").value()};
  match.destination_ips = {Cidr::parse("10.1.0.5/32").value()};
  match.not_destination_ips = {Cidr::parse("10.2.0.0/16").value()};
  match.destination_ports = {80};
  match.not_destination_ports = {443, 444};
  deny.rules = {{{{{match}}, {}}}};
  store.upsert(deny);
  state::Authorization global;
  global.name = "allow";
  global.namespace_name = "istio-system";
  store.upsert(global);
  const Json policies = dumped(store)["policies"];
  REQUIRE(policies.size() == 2);
  CHECK(policies[0] == Json({{"name", "allow"},
                             {"namespace", "istio-system"},
                             {"scope", "Global"},
                             {"action", "Allow"},
                             {"rules", Json::array()}}));
  const Json& row = policies[1];
  CHECK(row["scope"] == "WorkloadSelector");
  CHECK(row["action"] == "Deny");
  CHECK(row["dryRun"] == true);
  REQUIRE(row["rules"].size() == 1);
  REQUIRE(row["rules"][0].size() == 2);
  CHECK(row["rules"][0][1] == Json::array());
  CHECK(row["rules"][0][0][0] ==
        Json::parse(R"({"namespaces":[{"Exact":"a"},{"Prefix":"b"}],"notNamespaces":[{"Suffix":"c"}],
          "serviceAccounts":[{"namespace":"ns","serviceAccount":"sa"}],
          "notServiceAccounts":[{"namespace":"ns","serviceAccount":"other"}],
          "principals":[{"Presence":[]}],"notPrincipals":[{"Exact":"p"}],
          "sourceIps":["10.0.0.0/8"],"notSourceIps":["fd00::/8"],
          "destinationIps":["10.1.0.5/32"],"notDestinationIps":["10.2.0.0/16"],
          "destinationPorts":[80],"notDestinationPorts":[443,444]})"));
}

TEST_CASE("certificates have their PEM in base64, decimal serials and times as they were listed") {
  state::Store store;
  const DumpCertificate leaf{"PEM leaf\n", "123456789012345678901234567890", "2026-01-01T00:00:00Z",
                             "2026-01-02T00:00:00Z"};
  const DumpCertificate root{"PEM root\n", "7", "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"};
  const Json rows = dumped(store, {}, {},
                           {{"spiffe://td/ns/a/sa/b", "Available", {leaf}, {root}},
                            {"spiffe://td/ns/a/sa/c", "Unavailable: no \"luck\"", {}, {}}})["certificates"];
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["identity"] == "spiffe://td/ns/a/sa/b");
  CHECK(rows[0]["certChain"][0] == Json({{"pem", "UEVNIGxlYWYK"},
                                         {"serialNumber", "123456789012345678901234567890"},
                                         {"validFrom", "2026-01-01T00:00:00Z"},
                                         {"expirationTime", "2026-01-02T00:00:00Z"}}));
  CHECK(rows[0]["rootCerts"][0]["serialNumber"] == "7");
  CHECK(rows[1]["state"] == "Unavailable: no \"luck\"");
  CHECK(rows[1]["certChain"] == Json::array());
}

TEST_CASE("pods are listed with their connections, both directions in ztunnel's terms") {
  state::Store store;
  Pod pod;
  pod.id = "0b9d-uid";
  pod.name = "cart";
  pod.namespace_name = "shop";
  pod.service_account = "sa";
  pod.identity = "spiffe://td/ns/shop/sa/sa";
  pod.state = "joined";
  Pod waiting;
  waiting.id = "waiting";
  waiting.state = "failed";
  const auto endpoint = [](const char* text) { return Endpoint::parse(text).value(); };
  telemetry::ConnectionLog out;
  out.pod = "0b9d-uid";
  out.direction = telemetry::Direction::Outbound;
  out.transport = telemetry::Transport::Hbone;
  out.source.address = endpoint("10.1.0.5:4000");
  out.original_destination = endpoint("10.96.0.10:80");
  out.destination.address = endpoint("10.2.0.7:15008");
  telemetry::ConnectionLog plain = out;
  plain.transport = telemetry::Transport::Plaintext;
  telemetry::ConnectionLog in;
  in.pod = "0b9d-uid";
  in.direction = telemetry::Direction::Inbound;
  in.transport = telemetry::Transport::Direct;
  in.source.address = endpoint("[fd00::9]:5000");
  in.destination.address = endpoint("[fd00::5]:15008");
  in.original_destination = endpoint("[fd00::5]:8080");
  in.authority = "[fd00::5]:8080";
  telemetry::ConnectionLog named = in;
  named.authority = "cart.shop.svc.cluster.local";
  telemetry::ConnectionLog of_another = in;
  of_another.pod = "gone";
  const Json state = dumped(store, {pod, waiting}, {out, in, plain, named, of_another})["workloadState"];
  REQUIRE(state.size() == 2);
  CHECK(state["waiting"]["state"] == "Pending");
  const Json& row = state["0b9d-uid"];
  CHECK(row["state"] == "Up");
  CHECK(row["info"] ==
        Json({{"name", "cart"}, {"namespace", "shop"}, {"trustDomain", "td"}, {"serviceAccount", "sa"}}));
  const Json& outbound = row["connections"]["outbound"];
  REQUIRE(outbound.size() == 2);
  CHECK(outbound[0] == Json({{"src", "10.1.0.5:4000"},
                             {"originalDst", "10.96.0.10:80"},
                             {"actualDst", "10.2.0.7:15008"},
                             {"protocol", "HBONE"},
                             {"tunnel", "hbone"}}));
  CHECK(outbound[1]["protocol"] == "TCP");
  const Json& inbound = row["connections"]["inbound"];
  REQUIRE(inbound.size() == 2);
  CHECK(inbound[0] == Json({{"src", "[fd00::9]:5000"},
                            {"originalDst", nullptr},
                            {"actualDst", "[fd00::5]:8080"},
                            {"protocol", "HBONE"},
                            {"tunnel", "direct"}}));
  CHECK(inbound[1]["originalDst"] == "cart.shop.svc.cluster.local");
}

TEST_CASE("names with quotes, control characters and broken UTF-8 leave the dump valid, as keys too") {
  state::Store store;
  state::Workload odd = workload("odd", "10.1.0.5");
  odd.uid = odd.name = "a\"b\\c\n\x01\xff";
  odd.services = {{"shop", "q\"uote", {}}};
  store.upsert(odd);
  state::Service service;
  service.name = "x";
  service.namespace_name = "shop";
  service.hostname = "q\"uote";
  store.upsert(service);
  const Json dump = dumped(store);
  CHECK(dump["workloads"][0]["name"] == "a\"b\\c\n\x01\xef\xbf\xbd");
  CHECK(dump["services"][0]["endpoints"].begin().key() == "a\"b\\c\n\x01\xef\xbf\xbd");
}

TEST_CASE("a dump of any size comes in pieces of a bounded size, and shows one moment while the mesh goes on") {
  state::Store store;
  state::Service service;
  service.name = service.hostname = "all";
  service.namespace_name = "shop";
  store.upsert(service);
  constexpr int kCount = 5'000;
  for (int i = 0; i < kCount; ++i) {
    state::Workload one = workload("w" + std::to_string(i), fmt::format("10.{}.{}.1", i / 250, i % 250));
    one.services = {{"shop", "all", {}}};
    store.upsert(one);
  }
  ConfigDump dump(std::make_unique<StoreDump>(store), {}, nullptr);
  std::string text;
  REQUIRE(dump.next(text));
  for (int i = 0; i < kCount; ++i) store.remove_workload("Kubernetes//Pod/shop/w" + std::to_string(i));
  std::ignore = store.publish();
  std::size_t piece_bytes_max = 0;
  text += whole(dump, &piece_bytes_max);
  CHECK(piece_bytes_max < ConfigDump::kPieceBytes + 2'000);
  const Json parsed = Json::parse(text, nullptr, false);
  REQUIRE_FALSE(parsed.is_discarded());
  CHECK(parsed["workloads"].size() == kCount);
  CHECK(parsed["services"][0]["endpoints"].size() == kCount);
}

TEST_CASE("the dump is pretty: two spaces for each level") {
  state::Store store;
  store.upsert(workload("one", "10.1.0.5"));
  ConfigDump dump(std::make_unique<StoreDump>(store), {}, nullptr);
  const std::string text = whole(dump);
  CHECK(text.starts_with("{\n  \"workloads\": [\n    {\n      \"workloadIps\": [\n        \"10.1.0.5\"\n      ],\n"));
  CHECK(text.ends_with("  \"workloadState\": {}\n}\n"));
}

TEST_CASE("base64 as in RFC 4648, section 10") {
  for (const auto& [plain, coded] : {std::pair{"", ""},
                                     {"f", "Zg=="},
                                     {"fo", "Zm8="},
                                     {"foo", "Zm9v"},
                                     {"foob", "Zm9vYg=="},
                                     {"fooba", "Zm9vYmE="},
                                     {"foobar", "Zm9vYmFy"},
                                     {"\xff\xfe", "//4="}}) {
    CHECK(base64(plain) == coded);
  }
}

}  // namespace culvert::admin
