// SPDX-License-Identifier: Apache-2.0
// The admin API's JSON, byte for byte: scripts depend on these keys. A change here is a change of the API.
#include <string>

#include <catch2/catch.hpp>

#include "admin/json_view.hpp"

namespace culvert::admin {
namespace {

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

}  // namespace

TEST_CASE("status has these keys") {
  Status status;
  status.version = "0.1.0";
  status.node = "a";
  status.cluster = "Kubernetes";
  status.network = "n1";
  status.trust_domain = "cluster.local";
  status.config_path = "/etc/culvert/culvertd.yaml";
  status.state = "ready";
  status.start_us = 1'000'000;
  status.process_id = 7;
  status.workers = 2;
  status.snapshot_version = 3;
  status.pods = 1;
  status.workloads = 4;
  status.connections_inbound = 5;
  status.connections_outbound = 6;
  status.tunnels_open = 8;
  status.tunnels_idle = 9;
  status.steering = "connect-hook";
  status.attachment = "tcx";
  status.lo_segment_bytes_v4 = 524'280;
  status.engines = {{.cipher = "TLS_AES_128_GCM_SHA256", .tx = "kernel", .rx = "user-evp"}};
  status.notes = {"kernel TLS is missing"};
  const std::string pending[] = {"proxy"};
  CHECK(
      json_status(status, pending, 3'500'000) ==
      R"({"version":"0.1.0","state":"ready","node":"a","cluster":"Kubernetes","network":"n1","trust_domain":"cluster.local",)"
      R"("config":"/etc/culvert/culvertd.yaml","pid":7,"start_us":1000000,"uptime_ms":2500,"workers":2,"snapshot_version":3,)"
      R"("pods":1,"workloads":4,"connections":{"inbound":5,"outbound":6},"tunnels":{"open":8,"idle":9},)"
      R"("capture":{"steering":"connect-hook","attachment":"tcx","lo_segment_bytes_v4":524280,"lo_segment_bytes_v6":0},)"
      R"("engines":[{"cipher":"TLS_AES_128_GCM_SHA256","tx":"kernel","rx":"user-evp"}],"pending":["proxy"],)"
      R"("notes":["kernel TLS is missing"]})"
      "\n");
}

TEST_CASE("a pod has these keys, alone and in the list") {
  Pod pod{.id = "cni-1",
          .name = "cart",
          .namespace_name = "shop",
          .service_account = "cart",
          .identity = "spiffe://cluster.local/ns/shop/sa/cart",
          .netns_path = "/run/netns/cni-1",
          .addresses = {address("10.1.0.5"), address("2001:db8::5")},
          .slot = 2,
          .state = "joined",
          .detail = ""};
  const std::string expected =
      R"({"id":"cni-1","name":"cart","namespace":"shop","service_account":"cart","identity":"spiffe://cluster.local/ns/shop/sa/cart",)"
      R"("netns":"/run/netns/cni-1","addresses":["10.1.0.5","2001:db8::5"],"slot":2,"state":"joined","detail":""})";
  CHECK(json_pod(pod) == expected + "\n");
  CHECK(json_pods(std::vector<Pod>{pod, pod}) == R"({"pods":[)" + expected + "," + expected + "]}\n");
  CHECK(json_pods({}) == "{\"pods\":[]}\n");
}

TEST_CASE("a workload has these keys") {
  const std::vector<Workload> workloads{{.uid = "shop/cart",
                                         .name = "cart",
                                         .namespace_name = "shop",
                                         .identity = "spiffe://cluster.local/ns/shop/sa/cart",
                                         .node = "a",
                                         .network = "",
                                         .cluster = "Kubernetes",
                                         .protocol = "HBONE",
                                         .peer_auth = "STRICT",
                                         .addresses = {address("10.1.0.5")},
                                         .hostname = "cart.example.com",
                                         .waypoint = "shop/way.example.com",
                                         .health = "HEALTHY"}};
  CHECK(
      json_workloads(workloads) ==
      R"({"workloads":[{"uid":"shop/cart","name":"cart","namespace":"shop","identity":"spiffe://cluster.local/ns/shop/sa/cart",)"
      R"("node":"a","network":"","cluster":"Kubernetes","protocol":"HBONE","peer_auth":"STRICT","addresses":["10.1.0.5"],)"
      R"("hostname":"cart.example.com","waypoint":"shop/way.example.com","health":"HEALTHY"}]})"
      "\n");
}

TEST_CASE("a service has these keys") {
  const std::vector<Service> services{{.name = "cart",
                                       .namespace_name = "shop",
                                       .hostname = "cart.shop.svc.cluster.local",
                                       .addresses = {"10.9.0.1", "far/fd09::1"},
                                       .ports = {{80, 8080}, {443, 0}},
                                       .endpoints = {{"shop/cart-1", "usable"}, {"shop/cart-2", "unknown"}},
                                       .waypoint = "10.9.0.9",
                                       .mode = "FAILOVER",
                                       .visibility = "PUBLIC"}};
  CHECK(
      json_services(services) ==
      R"({"services":[{"name":"cart","namespace":"shop","hostname":"cart.shop.svc.cluster.local","addresses":["10.9.0.1","far/fd09::1"],)"
      R"("ports":[{"port":80,"target_port":8080},{"port":443,"target_port":0}],)"
      R"("endpoints":[{"workload":"shop/cart-1","state":"usable"},{"workload":"shop/cart-2","state":"unknown"}],)"
      R"("waypoint":"10.9.0.9","mode":"FAILOVER","visibility":"PUBLIC"}]})"
      "\n");
  CHECK(json_services({}) == "{\"services\":[]}\n");
}

TEST_CASE("a connection has these keys, and its age") {
  telemetry::ConnectionLog connection;
  connection.id = 17;
  connection.direction = telemetry::Direction::Outbound;
  connection.transport = telemetry::Transport::Direct;
  connection.source = {.address = Endpoint::parse("10.1.0.5:40000").value(),
                       .workload = "client",
                       .namespace_name = "default",
                       .identity = "spiffe://cluster.local/ns/default/sa/client",
                       .cluster = "Kubernetes"};
  connection.destination.address = Endpoint::parse("10.2.0.7:15008").value();
  connection.original_destination = Endpoint::parse("10.2.0.7:80").value();
  connection.authority = "10.2.0.7:80";
  connection.why = "its address";
  connection.pod = "cni-1";
  connection.cipher = "TLS_AES_128_GCM_SHA256";
  connection.tx_engine = "kernel";
  connection.rx_engine = "user-ipsec-mb";
  connection.bytes_sent = 1;
  connection.bytes_received = 2;
  connection.start_us = 1'000'000;
  connection.state = "open";
  CHECK(
      json_connections(std::vector{connection}, 2'250'999) ==
      R"({"total":1,"connections":[{"id":17,"direction":"outbound","transport":"direct","state":"open","pod":"cni-1",)"
      R"("source":{"address":"10.1.0.5:40000","workload":"client","namespace":"default",)"
      R"("identity":"spiffe://cluster.local/ns/default/sa/client","cluster":"Kubernetes"},)"
      R"("destination":{"address":"10.2.0.7:15008","workload":"","namespace":"","identity":"","cluster":""},)"
      R"("original_destination":"10.2.0.7:80","authority":"10.2.0.7:80","service":"","why":"its address","cipher":"TLS_AES_128_GCM_SHA256","tx_engine":"kernel","rx_engine":"user-ipsec-mb",)"
      R"("bytes_sent":1,"bytes_received":2,"start_us":1000000,"age_ms":1250}]})"
      "\n");
}

TEST_CASE("a list of connections is cut at its limit and tells the true number") {
  const std::vector<telemetry::ConnectionLog> many(kConnectionsListedMax + 5);
  const std::string json = json_connections(many, 0);
  CHECK(json.starts_with(fmt::format("{{\"total\":{},", kConnectionsListedMax + 5)));
  std::size_t listed = 0;
  for (std::size_t at = json.find("{\"id\":"); at != std::string::npos; at = json.find("{\"id\":", at + 1)) ++listed;
  CHECK(listed == kConnectionsListedMax);
}

TEST_CASE("certificates and drops have these keys") {
  const std::vector<Certificate> certificates{{.identity = "spiffe://cluster.local/ns/shop/sa/cart",
                                               .state = "available",
                                               .serial_decimal = "123456789012345678901234567890",
                                               .not_before_s = -5,
                                               .not_after_s = 100,
                                               .rotates_at_s = 50}};
  CHECK(json_certificates(certificates) ==
        R"({"certificates":[{"identity":"spiffe://cluster.local/ns/shop/sa/cart","state":"available",)"
        R"("serial":"123456789012345678901234567890","not_before_s":-5,"not_after_s":100,"rotates_at_s":50}]})"
        "\n");
  const std::vector<telemetry::PodCounters> drops{
      {.pod = "cni-1", .name = "cart", .namespace_name = "shop", .counters = {{"drop_no_agent", "no \"agent\"", 3}}}};
  CHECK(
      json_drops(drops) ==
      R"({"drops":[{"id":"cni-1","name":"cart","namespace":"shop","counters":[{"name":"drop_no_agent","help":"no \"agent\"","value":3}]}]})"
      "\n");
}

TEST_CASE("a join request is read with all its keys") {
  const auto request = parse_join(
      R"({"netns":"/run/netns/p1","id":"p1","name":"cart","namespace":"shop","service_account":"sa","answer_syn":"after_connect","addresses":["10.1.0.5","2001:db8::5"]})");
  REQUIRE(request);
  CHECK(request->netns_path == "/run/netns/p1");
  CHECK(request->id == "p1");
  CHECK(request->name == "cart");
  CHECK(request->namespace_name == "shop");
  CHECK(request->service_account == "sa");
  CHECK(request->answer_syn == AnswerSyn::AfterConnect);
  REQUIRE(request->addresses.size() == 2);
  CHECK(request->addresses[1] == address("2001:db8::5"));
}

TEST_CASE("a join request that is wrong is refused with what to change") {
  const struct {
    std::string body;
    const char* text;
  } cases[] = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"[]", "must be a JSON object"},
      {"{}", "\"netns\" must be the absolute path"},
      {R"({"netns":"netns/p1"})", "absolute path"},
      {R"({"netns":5})", "\"netns\" must be a string"},
      {R"({"netns":"/a","servce_account":"x"})", "unknown key \"servce_account\""},
      {R"({"netns":"/a","name":"x\u0000y"})", "control characters"},
      {R"({"netns":"/a","answer_syn":"later"})", "\"answer_syn\" is \"later\"; at_once or after_connect"},
      {R"({"netns":"/a","addresses":"10.0.0.1"})", "must be an array"},
      {R"({"netns":"/a","addresses":[1]})", "must hold strings"},
      {R"({"netns":"/a","addresses":["10.0.0"]})", "10.0.0"},
      {std::string(100'000, '['), "nested too deeply"},
      {"{\"netns\":\"/" + std::string(5'000, 'a') + "\"}", "too long"},
  };
  for (const auto& one : cases) {
    INFO(one.body.substr(0, 60));
    const auto request = parse_join(one.body);
    REQUIRE_FALSE(request);
    CHECK(request.error().code() == ErrorCode::InvalidArgument);
    CHECK_THAT(request.error().message(), Catch::Contains(one.text));
  }
}

}  // namespace culvert::admin
