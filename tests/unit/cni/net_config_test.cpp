// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "net_config.hpp"

namespace {

using namespace culvert::cni_plugin;

std::string config(const std::string& members) {
  return R"({"cniVersion":"1.1.0","name":"pods","type":"culvert-cni")" + members + "}";
}

auto parse(const std::string& members, Command command = Command::Add) {
  return parse_config(config(members), command);
}

}  // namespace

TEST_CASE("a configuration with nothing of ours has the defaults") {
  const auto parsed = parse("");
  REQUIRE(parsed);
  CHECK(parsed->agent_socket == "/run/culvert/cni.sock");
  CHECK(parsed->state_dir == "/var/lib/culvert");
  CHECK(parsed->enrol == EnrolPolicy::Ask);
  CHECK(parsed->exclude_namespaces.empty());
  CHECK(parsed->default_service_account == "default");
  CHECK_FALSE(parsed->prev_result);
}

TEST_CASE("our keys are read, and keys of the runtime are let be") {
  const auto parsed = parse(R"(,"agent_socket":"/s","state_dir":"/d","enrol":"all","exclude_namespaces":["kube-system"],
    "default_service_account":"sa","agent_wait_ms":0,"capabilities":{"x":true},"runtimeConfig":{"y":1},"dns":{},
    "args":{"cni":{"labels":[],"culvert":{"name":"cart","namespace":"shop","service_account":"cart-sa"}}})");
  REQUIRE(parsed);
  CHECK(parsed->agent_socket == "/s");
  CHECK(parsed->state_dir == "/d");
  CHECK(parsed->enrol == EnrolPolicy::All);
  CHECK(parsed->exclude_namespaces == std::vector<std::string>{"kube-system"});
  CHECK(parsed->default_service_account == "sa");
  CHECK(parsed->agent_wait_ms == 0);
  CHECK(parsed->args_pod == culvert::cni::PodName{"cart", "shop", "cart-sa"});
}

TEST_CASE("what is wrong with a configuration is answered by code and place") {
  struct Case {
    std::string text;
    CniErrorCode code;
    const char* place;
  };
  const Case cases[] = {
      {"", CniErrorCode::DecodingFailure, "JSON"},
      {"{", CniErrorCode::DecodingFailure, "JSON"},
      {"[]", CniErrorCode::InvalidConfig, "object"},
      {R"({"name":"pods"})", CniErrorCode::IncompatibleVersion, "0.1.0"},
      {R"({"cniVersion":"0.2.0","name":"pods"})", CniErrorCode::IncompatibleVersion, "0.2.0"},
      {R"({"cniVersion":"2.0.0","name":"pods"})", CniErrorCode::IncompatibleVersion, "2.0.0"},
      {R"({"cniVersion":7,"name":"pods"})", CniErrorCode::InvalidConfig, "cniVersion"},
      {R"({"cniVersion":"1.1.0"})", CniErrorCode::InvalidConfig, "name"},
      {R"({"cniVersion":"1.1.0","name":"a b"})", CniErrorCode::InvalidConfig, "name"},
      {R"({"cniVersion":"1.1.0","name":"-a"})", CniErrorCode::InvalidConfig, "name"},
      {config(R"(,"agent_socket":"relative")"), CniErrorCode::InvalidConfig, "agent_socket"},
      {config(R"(,"agent_socket":7)"), CniErrorCode::InvalidConfig, "agent_socket"},
      {config(R"(,"enrol":"perhaps")"), CniErrorCode::InvalidConfig, "enrol"},
      {config(R"(,"exclude_namespaces":"kube-system")"), CniErrorCode::InvalidConfig, "exclude_namespaces"},
      {config(R"(,"agent_wait_ms":60000)"), CniErrorCode::InvalidConfig, "agent_wait_ms"},
      {config(R"(,"default_service_account":"a/b")"), CniErrorCode::InvalidConfig, "default_service_account"},
      {config(R"(,"prevResult":[])"), CniErrorCode::InvalidConfig, "prevResult"},
      {config(R"(,"prevResult":{"ips":{}})"), CniErrorCode::InvalidConfig, "ips"},
      {config(R"(,"prevResult":{"ips":[{}]})"), CniErrorCode::InvalidConfig, "address"},
      {config(R"(,"prevResult":{"ips":[7]})"), CniErrorCode::InvalidConfig, "ips"},
      {config(R"(,"prevResult":{"ips":[{"address":"ten/8"}]})"), CniErrorCode::InvalidConfig, "ten"},
      {std::string(kConfigBytesMax + 1, ' '), CniErrorCode::InvalidConfig, "bytes"},
  };
  for (const Case& item : cases) {
    CAPTURE(item.text.substr(0, 200));
    const auto parsed = parse_config(item.text, Command::Add);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == item.code);
    CHECK_THAT(parsed.error().message + " " + parsed.error().details, Catch::Contains(item.place));
  }
}

TEST_CASE("the pod's addresses are those of its own interfaces") {
  const auto parsed = parse(R"(,"prevResult":{"cniVersion":"1.1.0",
    "interfaces":[{"name":"cni0"},{"name":"veth1","sandbox":""},{"name":"eth0","sandbox":"/run/netns/a"}],
    "ips":[{"address":"10.9.9.1/24","interface":0},{"address":"10.9.9.2/24","interface":1},{"address":"10.1.0.5/24","interface":2},
           {"address":"fd00::5/64"},{"address":"10.1.0.6","interface":9}]})");
  REQUIRE(parsed);
  std::vector<std::string> texts;
  for (const auto& address : parsed->addresses) texts.push_back(address.to_string());
  CHECK(texts == std::vector<std::string>{"10.1.0.5", "fd00::5", "10.1.0.6"});
}

TEST_CASE("results of every accepted version are understood") {
  for (const char* version : {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    CAPTURE(version);
    const std::string text =
        R"({"cniVersion":")" + std::string(version) +
        R"(","name":"pods","prevResult":{"ips":[{"version":"4","address":"10.1.0.5/24","gateway":"10.1.0.1"}]}})";
    const auto parsed = parse_config(text, Command::Add);
    REQUIRE(parsed);
    CHECK(parsed->addresses.size() == 1);
  }
}

TEST_CASE("the attachments of a GC are taken once per container") {
  const auto parsed =
      parse(R"(,"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"},{"containerID":"a","ifname":"eth0"},
    {"containerID":"b","ifname":"net1"}])",
            Command::Gc);
  REQUIRE(parsed);
  CHECK(parsed->valid_ids == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(parse("", Command::Gc)->valid_ids);
  CHECK_FALSE(parse(R"(,"cni.dev/valid-attachments":[{}])", Command::Gc));
}
