// SPDX-License-Identifier: Apache-2.0
// What a person sees of the agent's answers. The answers are made by the admin module itself, so that both sides fit.
#include <catch2/catch.hpp>

#include "admin/json_view.hpp"
#include "ctl/views.hpp"

namespace culvert::ctl {
namespace {

Json parsed(const std::string& body) { return parse_answer(body).value(); }

telemetry::ConnectionLog connection() {
  telemetry::ConnectionLog one;
  one.id = 1;
  one.direction = telemetry::Direction::Outbound;
  one.transport = telemetry::Transport::Direct;
  one.source = {.address = Endpoint::parse("10.1.0.5:40236").value(),
                .workload = "client",
                .namespace_name = "default",
                .identity = "spiffe://cluster.local/ns/default/sa/client",
                .cluster = "Kubernetes"};
  one.destination = {.address = Endpoint::parse("10.2.0.7:15008").value(),
                     .workload = "server",
                     .namespace_name = "shop",
                     .identity = "spiffe://cluster.local/ns/shop/sa/server",
                     .cluster = "Kubernetes"};
  one.original_destination = Endpoint::parse("10.2.0.7:80").value();
  one.pod = "cni-1";
  one.cipher = "TLS_AES_128_GCM_SHA256";
  one.tx_engine = "kernel";
  one.rx_engine = "user-ipsec-mb";
  one.bytes_sent = 1'536;
  one.bytes_received = 12;
  one.start_us = 1'000'000;
  one.state = "open";
  one.why = "a workload's address";
  return one;
}

}  // namespace

TEST_CASE("a live connection shows both identities, cipher and the engine of each direction") {
  CHECK(view_connections(parsed(admin::json_connections(std::vector{connection()}, 13'000'000)), {}, 0) ==
        "DIRECTION  SOURCE                                        DESTINATION                                TRANSPORT "
        " CIPHER       "
        "TX / RX RECORDS            SENT  RECEIVED  AGE  STATE  WHY\n"
        "outbound   10.1.0.5:40236 default/client                 10.2.0.7:80 shop/server                    direct    "
        " AES-128-GCM  "
        "kernel / user-ipsec-mb  1.5 KiB      12 B  12s  open   a workload's address\n"
        "            spiffe://cluster.local/ns/default/sa/client   spiffe://cluster.local/ns/shop/sa/server\n");
}

TEST_CASE("on eighty columns a connection takes more lines and nothing is left out") {
  CHECK(view_connections(parsed(admin::json_connections(std::vector{connection()}, 13'000'000)), {.width = 80}, 0) ==
        "DIR  SOURCE, DESTINATION                        PROTECTION          TRAFFIC\n"
        "out  10.1.0.5:40236 default/client              direct AES-128-GCM  sent 1.5 KiB\n"
        "      spiffe://clu….local/ns/default/sa/client  tx kernel           recv 12 B\n"
        "     10.2.0.7:80 shop/server                    rx user-ipsec-mb    12s, open\n"
        "      spiffe://cluster.local/ns/shop/sa/server\n"
        "      a workload's address\n");
}

TEST_CASE("a plaintext connection is told as such") {
  auto plain = connection();
  plain.transport = telemetry::Transport::Plaintext;
  plain.source.identity.clear();
  plain.cipher.clear();
  const std::string text = view_connections(parsed(admin::json_connections(std::vector{plain}, 13'000'000)), {}, 0);
  CHECK(text.find("tcp        -       -") != std::string::npos);
}

TEST_CASE("more connections than fit are counted") {
  const std::string text = view_connections(parsed(admin::json_connections(std::vector(5, connection()), 0)), {}, 7);
  CHECK(text.ends_with("... and 3 more\n"));
  CHECK(view_connections(parsed(admin::json_connections({}, 0)), {}, 0) == "No live connections.\n");
}

TEST_CASE("status names what is pending and what is degraded") {
  admin::Status status;
  status.version = "0.1.0";
  status.state = "starting";
  status.node = "a";
  status.process_id = 7;
  status.workers = 2;
  status.start_us = 1'000'000;
  status.steering = "connect-hook";
  status.attachment = "tcx";
  status.lo_segment_bytes_v4 = 65'536;
  status.lo_segment_bytes_v6 = 524'288;
  status.engines = {{.cipher = "TLS_AES_128_GCM_SHA256", .tx = "kernel", .rx = "user-evp"}};
  status.notes = {"kernel TLS is missing"};
  const std::string pending[] = {"proxy", "state manager"};
  CHECK(view_status(parsed(admin::json_status(status, pending, 63'000'000)), {}) ==
        "agent:        culvertd 0.1.0, pid 7, up 1m2s\n"
        "state:        starting, pending: proxy, state manager\n"
        "node:         a\n"
        "workers:      2\n"
        "mesh:         0 workloads (snapshot 0), 0 pods joined here\n"
        "connections:  0 outbound, 0 inbound\n"
        "tunnels:      0 open, 0 of them idle\n"
        "capture:      connect-hook, tcx, segments on lo up to 64.0 KiB (IPv4) and 512.0 KiB (IPv6)\n"
        "TLS records:  TLS_AES_128_GCM_SHA256: send kernel, receive user-evp\n"
        "note:         kernel TLS is missing\n");
}

TEST_CASE("pods, workloads, certificates and drops are tables") {
  const std::vector<admin::Pod> pods{
      {.id = "cni-1",
       .name = "cart",
       .namespace_name = "shop",
       .service_account = "sa",
       .identity = "spiffe://c/ns/shop/sa/sa",
       .netns_path = "/run/netns/n1",
       .addresses = {IpAddress::parse("10.1.0.5").value(), IpAddress::parse("2001:db8::5").value()},
       .slot = 1,
       .state = "joined",
       .detail = ""}};
  CHECK(view_pods(parsed(admin::json_pods(pods)), {}) ==
        "ID     NAMESPACE  NAME  ADDRESSES    IDENTITY                  STATE   NETNS\n"
        "cni-1  shop       cart  10.1.0.5     spiffe://c/ns/shop/sa/sa  joined  /run/netns/n1\n"
        "                        2001:db8::5\n");
  const std::vector<admin::Workload> workloads{{.uid = "shop/cart",
                                                .name = "cart",
                                                .namespace_name = "shop",
                                                .identity = "spiffe://c/ns/shop/sa/sa",
                                                .node = "a",
                                                .network = "",
                                                .cluster = "Kubernetes",
                                                .protocol = "HBONE",
                                                .peer_auth = "STRICT",
                                                .addresses = {IpAddress::parse("10.1.0.5").value()},
                                                .hostname = "",
                                                .waypoint = "",
                                                .health = "HEALTHY"}};
  CHECK(view_workloads(parsed(admin::json_workloads(workloads)), {}) ==
        "NAMESPACE  NAME  ADDRESSES  NODE  NETWORK  PROTOCOL  PEER AUTH  WAYPOINT  IDENTITY\n"
        "shop       cart  10.1.0.5   a              HBONE     STRICT               spiffe://c/ns/shop/sa/sa\n");
  const std::vector<admin::Certificate> certificates{{.identity = "spiffe://c/ns/shop/sa/sa",
                                                      .state = "available",
                                                      .serial_decimal = "17",
                                                      .not_before_s = 0,
                                                      .not_after_s = 7'200,
                                                      .rotates_at_s = 3'600}};
  CHECK(view_certificates(parsed(admin::json_certificates(certificates)), {}, 60) ==
        "IDENTITY                  STATE      VALID FROM            VALID UNTIL            LEFT  RENEWED               "
        "SERIAL\n"
        "spiffe://c/ns/shop/sa/sa  available  1970-01-01 00:00:00Z  1970-01-01 02:00:00Z  1h59m  1970-01-01 01:00:00Z  "
        "17\n");
  CHECK(view_certificates(parsed(admin::json_certificates(certificates)), {}, 8'000).find("expired") !=
        std::string::npos);
  const std::vector<telemetry::PodCounters> drops{
      {.pod = "cni-1",
       .name = "cart",
       .namespace_name = "shop",
       .counters = {{"drop_no_agent", "no agent listens", 3}, {"steered", "to the agent", 0}}}};
  CHECK(view_drops(parsed(admin::json_drops(drops)), {}, false) ==
        "POD        DECISION       COUNT  MEANING\n"
        "shop/cart  drop_no_agent      3  no agent listens\n");
  CHECK(view_drops(parsed(admin::json_drops(drops)), {}, true).find("steered") != std::string::npos);
}

TEST_CASE("services are a table with ports, how many endpoints can be used, and the waypoint") {
  admin::Service way;
  way.name = "way";
  way.namespace_name = "shop";
  way.hostname = "way.example";
  way.endpoints = {{"shop/w", "usable"}};
  const std::vector<admin::Service> services{{.name = "cart",
                                              .namespace_name = "shop",
                                              .hostname = "cart.shop.svc.cluster.local",
                                              .addresses = {"10.9.0.1", "far/10.9.0.1"},
                                              .ports = {{80, 8080}, {443, 443}, {9000, 0}},
                                              .endpoints = {{"shop/a", "usable"}, {"shop/b", "unhealthy"}},
                                              .waypoint = "shop/way.example",
                                              .mode = "FAILOVER",
                                              .visibility = "PUBLIC"},
                                             way};
  CHECK(view_services(parsed(admin::json_services(services)), {}) ==
        "NAMESPACE  NAME  ADDRESSES     PORTS    ENDPOINTS  WAYPOINT          MODE      HOSTNAME\n"
        "shop       cart  10.9.0.1      80>8080  1 of 2     shop/way.example  FAILOVER  cart.shop.svc.cluster.local\n"
        "                 far/10.9.0.1  443\n"
        "                               9000\n"
        "shop       way                          1                                      way.example\n");
}

TEST_CASE("a workload without an address shows its hostname") {
  std::vector<admin::Workload> workloads(1);
  workloads[0].hostname = "db.example.com";
  workloads[0].waypoint = "10.9.0.9";
  CHECK_THAT(view_workloads(parsed(admin::json_workloads(workloads)), {}),
             Catch::Contains("db.example.com") && Catch::Contains("10.9.0.9"));
}

TEST_CASE("an explanation is a line for each step, with who decided it, and the outcome") {
  const admin::Explanation told{"denied",
                                {{"source", "ok", "workload shop/cart", "workload shop/cart"},
                                 {"policy", "note", "ALLOW: none of its rules matches", "policy shop/only"},
                                 {"verdict", "no", "denied", ""}}};
  CHECK(view_explanation(parsed(admin::json_explanation(told)), {}) ==
        "+ source       workload shop/cart  [workload shop/cart]\n"
        "  policy       ALLOW: none of its rules matches  [policy shop/only]\n"
        "- verdict      denied\n"
        "denied\n");
}

TEST_CASE("empty answers, and answers of another shape, are words and no failure") {
  for (
      const char* body :
      {"{}", "[]", "null", "5",
       R"({"pods":5,"connections":{},"workloads":[1,null,{}],"services":[2,{"ports":[1],"endpoints":7}],"certificates":"x","drops":[[]]})"}) {
    INFO(body);
    const Json answer = parsed(body);
    CHECK_FALSE(view_status(answer, {}).empty());
    CHECK_FALSE(view_pods(answer, {}).empty());
    CHECK_FALSE(view_workloads(answer, {}).empty());
    CHECK_FALSE(view_services(answer, {}).empty());
    CHECK_FALSE(view_connections(answer, {}, 0).empty());
    CHECK_FALSE(view_certificates(answer, {}, 0).empty());
    CHECK_FALSE(view_drops(answer, {}, true).empty());
    CHECK_FALSE(view_explanation(answer, {}).empty());
  }
  CHECK_FALSE(parse_answer("<html>"));
}

TEST_CASE("a pod is found by its id, the path of its namespace or its name there") {
  const Json pods = parsed(
      R"({"pods":[{"id":"a","netns":"/run/netns/n1"},{"id":"b","netns":"/var/run/netns/n2"},{"id":"n1","netns":"/x"}]})");
  CHECK(pod_id(pods, "a") == "a");
  CHECK(pod_id(pods, "n1") == "n1");
  CHECK(pod_id(pods, "/run/netns/n1") == "a");
  CHECK(pod_id(pods, "/run/netns/n2") == "b");
  CHECK(pod_id(pods, "/var/run/netns/n1") == "a");
  CHECK(pod_id(pods, "n3").empty());
}

}  // namespace culvert::ctl
