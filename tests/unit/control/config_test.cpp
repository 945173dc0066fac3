// SPDX-License-Identifier: Apache-2.0
// What a valid configuration becomes.
#include "control/config.hpp"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include "control/config_fields.hpp"

namespace culvert::control {
namespace {

Config parsed(std::string_view text) {
  Result<Config> config = parse_config(text, "node.yaml");
  INFO((config ? std::string() : config.error().message()));
  REQUIRE(config);
  return *std::move(config);
}

TEST_CASE("an empty file is a valid configuration with the defaults") {
  const char* text = GENERATE("", "\n", "# nothing\n", "{}", "---\n", "mesh:\npods:\nlog: {}\nnode_name: ~\n");
  CAPTURE(text);
  const Config config = parsed(text);
  CHECK(config.trust_domain == "cluster.local");
  CHECK(config.cluster == "Kubernetes");
  CHECK(config.node_name.empty());
  CHECK(config.admin.socket == "/run/culvert/admin.sock");
  CHECK(config.cni_socket() == "/run/culvert/cni.sock");
  CHECK(config.mesh_file() == "/run/culvert/mesh.json");
  CHECK(config.admin.metrics->to_string() == "0.0.0.0:15020");
  CHECK(config.admin.readiness->to_string() == "0.0.0.0:15021");
  CHECK(config.identity.embedded.directory == "/var/lib/culvert/ca");
  CHECK(config.tunnel.offer == std::vector{TunnelProtocol::Direct, TunnelProtocol::Hbone});
  CHECK(config.mesh.enrol == EnrolMode::All);
  CHECK(config.pods.empty());
}

TEST_CASE("every setting of a node is read") {
  const Config config = parsed(R"(
node_name: n1
cluster: c1
network: net1
trust_domain: mesh.example
state_dir: /tmp/state/
run_dir: /tmp/run
node_netns: /run/netns/n1
workers: 3
bpf: {pin_dir: /sys/fs/bpf/n1, cgroup: /sys/fs/cgroup/unified, mark: 0x77, route_table: 99, rule_priority: 100,
      tcx: false, connect_hook: false, big_segments: false}
tunnel:
  offer: [hbone]
  hbone: {stream_window: 1MiB, connection_window: 2MiB, frame_size: 16KiB, streams_per_connection: 50,
          concurrent_streams: 60, connections_per_peer: 2, ping_interval: 1s, ping_timeout: 3s, early_data: false,
          response_baggage: false}
  pool: {idle_timeout: 5m, max_idle_per_peer: 0}
  handshake: {timeout: 1500ms, concurrency_per_worker: 7, per_peer_rate: 0}
  connect_timeout: 3s
records: {tx: kernel, rx: user-ipsec-mb, splice: never}
buffers: {bytes_per_worker_max: 64MiB}
drain: {timeout: 0, pod_leave_timeout: 1h}
admin: {socket: /tmp/a.sock, metrics: off, readiness: "[::1]:99"}
log: {level: debug, format: json, access: false}
identity: {embedded: {directory: /tmp/ca, lifetime: 30s}}
limits: {connections_per_worker: 100, open_files: 4096}
capture: {exclude_ports: {inbound: [1], outbound: [2, 3]}, exclude_cidrs: {inbound: [10.0.0.0/8], outbound: ["fd00::/8"]}}
)");
  CHECK(config.node_name == "n1");
  CHECK(config.network == "net1");
  CHECK(config.state_dir == "/tmp/state");
  CHECK(config.node_netns == "/run/netns/n1");
  CHECK(config.workers == 3);
  CHECK(config.bpf.mark == 0x77);
  CHECK(config.bpf.cgroup == "/sys/fs/cgroup/unified");
  CHECK_FALSE((config.bpf.tcx || config.bpf.connect_hook || config.bpf.big_segments));
  CHECK(config.tunnel.offer == std::vector{TunnelProtocol::Hbone});
  const HboneConfig hbone{.stream_window = 1U << 20U,
                          .connection_window = 2U << 20U,
                          .frame_size = 16U << 10U,
                          .streams_per_connection = 50,
                          .concurrent_streams = 60,
                          .connections_per_peer = 2,
                          .ping_interval_ms = 1'000,
                          .ping_timeout_ms = 3'000,
                          .early_data = false,
                          .response_baggage = false};
  CHECK(config.tunnel.hbone == hbone);
  CHECK(config.tunnel.pool.idle_timeout_ms == 300'000);
  CHECK(config.tunnel.pool.max_idle_per_peer == 0);
  CHECK(config.tunnel.handshake.timeout_ms == 1'500);
  CHECK(config.tunnel.handshake.concurrency_per_worker == 7);
  CHECK(config.tunnel.handshake.per_peer_rate == 0);
  CHECK(config.records.tx == tls::EngineChoice::Kernel);
  CHECK(config.records.rx == tls::EngineChoice::UserIpsecMb);
  CHECK(config.records.splice == tls::SpliceChoice::Never);
  CHECK(config.buffers.bytes_per_worker_max == 64ULL << 20U);
  CHECK(config.drain.timeout_ms == 0);
  CHECK(config.admin.socket == "/tmp/a.sock");
  CHECK_FALSE(config.admin.metrics);
  CHECK(config.admin.readiness->to_string() == "[::1]:99");
  CHECK(config.log.level == telemetry::Level::Debug);
  CHECK(config.log.format == telemetry::Format::Json);
  CHECK_FALSE(config.log.access);
  CHECK(config.identity.embedded.lifetime_ms == 30'000);
  CHECK(config.limits.open_files == 4'096);
  CHECK(config.capture.exclude.ports_outbound == std::vector<std::uint16_t>{2, 3});
  REQUIRE(config.capture.exclude.cidrs_outbound.size() == 1);
  CHECK(config.capture.exclude.cidrs_outbound[0].to_string() == "fd00::/8");
}

TEST_CASE("workloads and namespaces are read with what they leave out left out") {
  const Config config = parsed(R"(
mesh:
  peer_authentication: STRICT
  enrol: listed
  namespaces:
    - {name: shop, enrol: true}
    - {name: bank, peer_authentication: PERMISSIVE, enrol: false}
  workloads:
    - {name: cart, addresses: [10.0.0.1]}
    - name: pay
      namespace: shop
      service_account: payer
      node: n2
      network: ""
      protocol: TCP
      addresses: [10.0.0.2, "fd00::2"]
      peer_authentication: PERMISSIVE
      cluster: c2
      canonical_name: payments
      canonical_revision: v2
)");
  CHECK(config.mesh.peer_authentication == state::PeerAuthMode::Strict);
  CHECK(config.mesh.enrol == EnrolMode::Listed);
  REQUIRE(config.mesh.namespaces.size() == 2);
  CHECK(config.mesh.namespaces[0].enrol == true);
  CHECK_FALSE(config.mesh.namespaces[0].peer_authentication);
  CHECK(config.mesh.namespaces[1].enrol == false);
  REQUIRE(config.mesh.workloads.size() == 2);
  CHECK(config.mesh.workloads[0].namespace_name == "default");
  CHECK_FALSE(config.mesh.workloads[0].network);
  CHECK(config.mesh.workloads[0].protocol == state::Protocol::Tunnel);
  CHECK(config.mesh.workloads[1].network == "");
  CHECK(config.mesh.workloads[1].protocol == state::Protocol::Tcp);
  CHECK(config.mesh.workloads[1].addresses.size() == 2);
  CHECK(config.mesh.workloads[1].canonical_revision == "v2");
}

TEST_CASE("a pod's name is its id unless it is given") {
  const Config config = parsed(R"(
pods:
  - {id: a, netns: /run/netns/a}
  - {id: b, netns: /run/netns/b, name: web, namespace: shop, service_account: web, addresses: [10.0.0.1],
     exclude_ports: {outbound: [53]}, exclude_cidrs: {outbound: [10.0.0.0/8]}, bypass_inbound: true}
)");
  REQUIRE(config.pods.size() == 2);
  CHECK(config.pods[0].name == "a");
  CHECK(config.pods[0].service_account == "default");
  CHECK(config.pods[0].addresses.empty());
  CHECK(config.pods[1].name == "web");
  CHECK(config.pods[1].exclude.ports_outbound == std::vector<std::uint16_t>{53});
  CHECK(config.pods[1].exclude.cidrs_outbound.size() == 1);
  CHECK(config.pods[1].bypass_inbound);
}

TEST_CASE("a pod and a workload may share an address when they share the identity") {
  parsed(R"(
mesh: {workloads: [{name: web, namespace: shop, service_account: sa, addresses: [10.0.0.1]}]}
pods: [{id: a, netns: /run/netns/a, namespace: shop, service_account: sa, addresses: [10.0.0.1]}]
)");
}

TEST_CASE("only keys that need a restart are named when two configurations differ") {
  const Config running = parsed("node_name: a\nlog: {level: info}\nbpf: {mark: 1}");
  CHECK(restart_keys(running, running).empty());
  CHECK(restart_keys(running, parsed("node_name: a\nlog: {level: debug}\nbpf: {mark: 1}\npods: [{id: a, netns: /n}]\n"
                                     "mesh: {enrol: listed}\ndrain: {timeout: 1s}\nrecords: {splice: always}\n"
                                     "tunnel: {connect_timeout: 1s, pool: {idle_timeout: 5s, max_idle_per_peer: 3},\n"
                                     "         handshake: {timeout: 1s, concurrency_per_worker: 2, per_peer_rate: 5}}\n"
                                     "limits: {connections_per_worker: 99}"))
            .empty());
  CHECK(restart_keys(running, parsed("node_name: b\nbpf: {mark: 2}\nadmin: {metrics: off}\nlog: {format: json}")) ==
        std::vector<std::string>{"node_name", "bpf.mark", "admin.metrics", "log.format"});
}

TEST_CASE("load_config reads a file and fills in the node's name and workers") {
  const std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("culvert-config-{}.yaml", ::getpid())).string();
  std::ofstream(path) << "cluster: c9\n";
  const Result<Config> config = load_config(path);
  std::filesystem::remove(path);
  REQUIRE(config);
  CHECK(config->cluster == "c9");
  CHECK_FALSE(config->node_name.empty());
  CHECK(config->workers >= 1);
  REQUIRE(default_config());
}

TEST_CASE("load_config names the file that it cannot read") {
  const Result<Config> absent = load_config("/nonexistent/node.yaml");
  REQUIRE_FALSE(absent);
  CHECK_THAT(absent.error().message(), Catch::Contains("/nonexistent/node.yaml") && Catch::Contains("No such file"));
  const Result<Config> directory = load_config("/tmp");
  REQUIRE_FALSE(directory);
  CHECK_THAT(directory.error().message(), Catch::Contains("not a regular file"));
}

}  // namespace
}  // namespace culvert::control
