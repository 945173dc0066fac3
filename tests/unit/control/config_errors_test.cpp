// SPDX-License-Identifier: Apache-2.0
// What a person is told about a configuration that is wrong: place, key, value and remedy.
#include <algorithm>
#include <string>

#include <catch2/catch.hpp>

#include "control/config.hpp"

namespace culvert::control {
namespace {

std::string mistakes(std::string_view text) {
  const Result<Config> config = parse_config(text, "f.yaml");
  REQUIRE_FALSE(config);
  CHECK(config.error().code() == ErrorCode::InvalidArgument);
  return config.error().message();
}

TEST_CASE("a mistake is reported with line, column, key, value and remedy") {
  struct Row {
    const char* text;
    const char* message;
  };
  const Row row = GENERATE(values<Row>({
      {"workers: many", "f.yaml:1:10: workers: \"many\" is not a whole number"},
      {"workers: 257", "f.yaml:1:10: workers: \"257\" is out of range; write 0 to 256"},
      {"workers: -1", "f.yaml:1:10: workers: \"-1\" is not a whole number"},
      {"workers: [1]", "f.yaml:1:10: workers: a list was found; write one value (integer)"},
      {"trustdomain: x", "f.yaml:1:1: unknown key \"trustdomain\"; did you mean trust_domain?"},
      {"log:\n  levle: info", "f.yaml:2:3: log: unknown key \"levle\"; did you mean level?"},
      {"log:\n  zzzzzzzzz: 1", "f.yaml:2:3: log: unknown key \"zzzzzzzzz\"; known here: level, format, access"},
      {"log: {level: loud}", "f.yaml:1:14: log.level: \"loud\" is not known; write debug or info or warn or error"},
      {"log: info", "f.yaml:1:6: log: a single value was found; write a map of keys and values"},
      {"log: {access: yes}", "f.yaml:1:15: log.access: \"yes\" is not known; write false or true"},
      {"drain: {timeout: 30}",
       "f.yaml:1:18: drain.timeout: \"30\" is not a duration; write a whole number and one of ms, s, m, h, such as "
       "30s"},
      {"drain: {timeout: 1.5s}", "drain.timeout: \"1.5s\" is not a duration"},
      {"drain: {timeout: 2h}", "drain.timeout: \"2h\" is out of range; write 0 to 1h"},
      {"buffers: {bytes_per_worker_max: 64MB}",
       "f.yaml:1:33: buffers.bytes_per_worker_max: \"64MB\" is not a size; write a whole number and one of B, KiB, "
       "MiB, GiB, "
       "such as 64MiB"},
      {"admin: {metrics: 15020}",
       "f.yaml:1:18: admin.metrics: \"15020\" is not an address with a port; write 0.0.0.0:15020, [::1]:15020 or the "
       "like, "
       "or off"},
      {"admin: {metrics: 0.0.0.0:0}", "admin.metrics: \"0.0.0.0:0\" is not an address with a port"},
      {"admin: {metrics: 127.0.0.1:15021, readiness: 127.0.0.1:15021}",
       "f.yaml:1:46: admin.readiness: 127.0.0.1:15021 is the address of admin.metrics as well; take another port"},
      {"admin: {metrics: 0.0.0.0:15021}", "admin.readiness: 0.0.0.0:15021 is the address of admin.metrics as well"},
      {"run_dir: /r\nadmin: {socket: /r/cni.sock}",
       "f.yaml:2:17: admin.socket: \"/r/cni.sock\" is the CNI plugin's socket"},
      {"state_dir: lib", "f.yaml:1:12: state_dir: \"lib\" is not an absolute path; start it with /"},
      {"trust_domain: Mesh", "trust_domain: \"Mesh\" is not a trust domain"},
      {"node_name: a b", "f.yaml:1:12: node_name: \"a b\" is not a name"},
      {"node_name: \"a\\0b\"", "node_name: \"a\\x00b\" holds control characters; remove them"},
      {"tunnel: {offer: [h2]}", "f.yaml:1:18: tunnel.offer[0]: \"h2\" is not known; write direct or hbone"},
      {"tunnel: {offer: []}", "tunnel.offer: is empty; write [direct, hbone], or one of the two"},
      {"tunnel: {hbone: {frame_size: 16MiB}}",
       "f.yaml:1:30: tunnel.hbone.frame_size: \"16MiB\" is out of range; write 16KiB to 8MiB"},
      {"tunnel: {hbone: {connection_window: 1MiB}}",
       "f.yaml:1:37: tunnel.hbone.connection_window: 1MiB is smaller than tunnel.hbone.stream_window, 4MiB; make it at "
       "least as large"},
      {"tunnel: {offer: direct}", "tunnel.offer: a single value was found; write a list, such as [a, b] (choice)"},
      {"tunnel: {offer: [direct, direct]}", "tunnel.offer[1]: \"direct\" stands twice in this list; remove one"},
      {"records: {tx: gpu}",
       "records.tx: \"gpu\" is not known; write auto or user or user-evp or user-ipsec-mb or kernel"},
      {"capture: {exclude_ports: {inbound: [0]}}",
       "f.yaml:1:37: capture.exclude_ports.inbound[0]: \"0\" is out of range; write a port, 1 to 65535"},
      {"capture: {exclude_ports: {inbound: [80, 80]}}",
       "capture.exclude_ports.inbound[1]: \"80\" stands twice in this list; remove one"},
      {"capture: {exclude_cidrs: {outbound: [10.0.0.0/33]}}",
       "capture.exclude_cidrs.outbound[0]: \"10.0.0.0/33\" is not an address range"},
      {"cluster: a\ncluster: b", "f.yaml:2:1: cluster: stands twice, first in line 1; remove one"},
      {"[a, b]", "f.yaml:1:1: a list was found; write a map of keys and values"},
      {"? [a]\n: b", "a list was found as a key; a key is a word"},
      {"a: b: c", "f.yaml:1:5: not YAML: illegal map value"},
      {"a: b\n---\nc: d", "f.yaml:2:1: this does not belong to the first document"},
      {"workers: 1\n...\nworkers: 2", "this does not belong to the first document"},
      {",workers: 1", "f.yaml:1:1: this does not belong to the first document"},
      {"workers: 1\n]", "f.yaml:2:1:"},
  }));
  CAPTURE(row.text);
  CHECK_THAT(mistakes(row.text), Catch::Contains(row.message));
}

TEST_CASE("a mistake in the mesh names the element") {
  struct Row {
    const char* text;
    const char* message;
  };
  const Row row = GENERATE(values<Row>({
      {"mesh:\n  workloads:\n    - addresses: [10.0.0.1]\n",
       "f.yaml:3:7: mesh.workloads[0].name: is missing; it must be given here"},
      {"mesh:\n  workloads:\n    - name: a\n", "f.yaml:3:7: mesh.workloads[0].addresses: is empty"},
      {"mesh:\n  workloads:\n    - {name: a, addresses: []}\n", "f.yaml:3:28: mesh.workloads[0].addresses: is empty"},
      {"mesh:\n  workloads:\n    - web\n", "f.yaml:3:7: mesh.workloads[0]: a single value was found; write a map"},
      {"mesh: {workloads: {name: a}}", "mesh.workloads: a map was found; write a list of maps"},
      {"mesh: {workloads: [{name: a, addresses: [localhost]}]}",
       "mesh.workloads[0].addresses[0]: \"localhost\" is not an address of a pod"},
      {"mesh: {workloads: [{name: a, addresses: [127.0.0.1]}]}",
       "mesh.workloads[0].addresses[0]: \"127.0.0.1\" is not an address of a pod"},
      {"mesh: {workloads: [{name: a, addresses: [10.0.0.1], protocol: QUIC}]}",
       "mesh.workloads[0].protocol: \"QUIC\" is not known; write HBONE or TCP"},
      {"mesh:\n  workloads:\n    - {name: a, addresses: [10.0.0.1]}\n    - {name: b, addresses: [10.0.0.2, "
       "10.0.0.1]}\n",
       "f.yaml:4:39: mesh.workloads[1].addresses[1]: 10.0.0.1 belongs to mesh.workloads[0] already; an address has one "
       "workload"},
      {"mesh:\n  workloads:\n    - {name: a, addresses: [10.0.0.1]}\n    - {name: a, addresses: [10.0.0.2]}\n",
       "f.yaml:4:14: mesh.workloads[1].name: workload \"default/a\" stands in mesh.workloads[0] already"},
      {"mesh:\n  namespaces:\n    - name: a\n    - name: a\n",
       "f.yaml:4:13: mesh.namespaces[1].name: namespace \"a\" stands in mesh.namespaces[0] already"},
      {"mesh: {peer_authentication: strict}",
       "f.yaml:1:29: mesh.peer_authentication: \"strict\" is not known; write PERMISSIVE or STRICT"},
      {"mesh: {peer_authentification: STRICT}", "did you mean peer_authentication?"},
      {"pods: [{id: a, netns: /n/a}, {id: a, netns: /n/b}]",
       "f.yaml:1:35: pods[1].id: \"a\" stands in pods[0] already"},
      {"pods: [{id: a, name: web, netns: /n/a}, {id: b, name: web, netns: /n/b}]",
       "pods[1].name: \"default/web\" is the pod of pods[0] already"},
      {"pods: [{id: a, netns: /n/a}, {id: b, netns: /n/a}]",
       "pods[1].netns: \"/n/a\" is the namespace of pods[0] already"},
      {"pods: [{id: a, netns: /n/a, addresses: [10.0.0.1]}, {id: b, netns: /n/b, addresses: [10.0.0.1]}]",
       "pods[1].addresses[0]: 10.0.0.1 belongs to pods[0] already"},
      {"mesh: {workloads: [{name: w, addresses: [10.0.0.1]}]}\n"
       "pods: [{id: a, netns: /n/a, service_account: x, addresses: [10.0.0.1]}]",
       "pods[0].addresses[0]: 10.0.0.1 has the identity default/x here and default/default in mesh.workloads[0]"},
      {"pods: [{id: ../x, netns: /n/a}]", "pods[0].id: \"../x\" is not a name"},
      {"pods: [{id: a}]", "pods[0].netns: is missing"},
  }));
  CAPTURE(row.text);
  CHECK_THAT(mistakes(row.text), Catch::Contains(row.message));
}

TEST_CASE("several mistakes are reported at once") {
  const std::string text = mistakes("workers: x\nlog: {level: loud, colour: red}\nmesh:\n  enrol: some\n");
  CHECK(std::ranges::count(text, '\n') == 3);
  CHECK_THAT(text, Catch::Contains("f.yaml:1:10") && Catch::Contains("f.yaml:2:14") && Catch::Contains("f.yaml:2:20") &&
                       Catch::Contains("f.yaml:4:10"));
}

TEST_CASE("after twenty mistakes parsing stops and says so") {
  std::string text = "mesh:\n  workloads:\n";
  for (int i = 0; i < 50; ++i) text += "    - {name: a b}\n";
  const std::string message = mistakes(text);
  CHECK(std::ranges::count(message, '\n') == 20);
  CHECK_THAT(message, Catch::EndsWith("f.yaml: stopped after 20 mistakes"));
}

TEST_CASE("twenty repeated addresses stop the checks as well") {
  std::string text = "mesh:\n  workloads:\n";
  for (int i = 0; i < 50; ++i) text += fmt::format("    - {{name: a{}, addresses: [10.0.0.1]}}\n", i);
  CHECK(std::ranges::count(mistakes(text), '\n') == 20);
}

TEST_CASE("an alias that refers to itself ends") {
  CHECK_THAT(mistakes("pods: &a [*a]"), Catch::Contains("pods[0]: a list was found"));
  CHECK_THAT(mistakes("log: &a {level: *a}"), Catch::Contains("log.level: a map was found"));
}

TEST_CASE("a document that is nested too deeply is refused, not followed") {
  CHECK_THAT(mistakes(std::string(100'000, '[')), Catch::Contains("not YAML"));
  CHECK_THAT(mistakes(std::string(100'000, '{')), Catch::Contains("not YAML"));
}

TEST_CASE("a value that is too long or holds odd bytes is shown short and escaped") {
  const std::string text = mistakes("log: {level: \"\\x1b" + std::string(500, 'x') + "\"}");
  CHECK_THAT(text, Catch::Contains("\\x1b"));
  CHECK(text.size() < 300);
}

}  // namespace
}  // namespace culvert::control
