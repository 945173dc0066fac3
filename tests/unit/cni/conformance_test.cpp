// SPDX-License-Identifier: Apache-2.0
// The CNI specification's demands on a plugin as a table: command, configuration version, what is missing, the code that it wants.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "scripted_agent.hpp"

namespace {

using namespace culvert;
using namespace culvert::testing;
using nlohmann::json;

}  // namespace

TEST_CASE("VERSION lists what is supported and echoes the version asked in") {
  for (const char* version : {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const auto output = run_plugin({{{"CNI_COMMAND", "VERSION"}}, R"({"cniVersion":")" + std::string(version) + "\"}"});
    CHECK(output.exit_code == 0);
    const auto answer = json::parse(output.text);
    CHECK(answer.at("cniVersion") == version);
    CHECK(answer.at("supportedVersions") == json({"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}));
  }
  CHECK(json::parse(run_plugin({{{"CNI_COMMAND", "VERSION"}}, ""}).text).at("cniVersion") == "1.1.0");
}

TEST_CASE("each version allows the commands that it knows") {
  struct Case {
    const char* command;
    const char* version;
    bool is_allowed;
  };
  const Case cases[] = {
      {"ADD", "0.3.0", true},     {"ADD", "0.3.1", true},     {"ADD", "0.4.0", true},     {"ADD", "1.0.0", true},
      {"ADD", "1.1.0", true},     {"CHECK", "0.3.0", false},  {"CHECK", "0.3.1", false},  {"CHECK", "0.4.0", true},
      {"CHECK", "1.0.0", true},   {"CHECK", "1.1.0", true},   {"GC", "0.4.0", false},     {"GC", "1.0.0", false},
      {"GC", "1.1.0", true},      {"STATUS", "0.4.0", false}, {"STATUS", "1.0.0", false}, {"STATUS", "1.1.0", true},
      {"DEL", "0.3.0", true},     {"DEL", "1.1.0", true},     {"ADD", "0.2.0", false},    {"ADD", "1.2.0", false},
      {"STATUS", "9.0.0", false},
  };
  for (const Case& item : cases) {
    CAPTURE(item.command, item.version);
    const TempDir dir;
    ScriptedAgent agent(dir.path("cni.sock"), [](const Received&) {
      return std::optional(cni::encode(cni::Answer{cni::AnswerCode::Ok, "", cni::Membership::Inside, 1}));
    });
    auto call = call_of(item.command, dir, R"("cni.dev/valid-attachments":[])");
    call.config.replace(call.config.find("1.1.0"), 5, item.version);
    const auto output = run_plugin(call);
    CAPTURE(output.text);
    CHECK((output.exit_code == 0) == item.is_allowed);
    if (output.exit_code != 0) {
      CHECK(json::parse(output.text).at("code") == 1);
    }
  }
}

TEST_CASE("what is missing or malformed has the specification's code") {
  struct Case {
    const char* what;
    const char* command;
    const char* variable;  // set to `value`, or removed when that is null; "": the configuration is `value`
    const char* value;
    unsigned code;
  };
  const Case cases[] = {
      {"no command", "ADD", "CNI_COMMAND", nullptr, 4},
      {"an unknown command", "ADD", "CNI_COMMAND", "UPDATE", 4},
      {"no container", "ADD", "CNI_CONTAINERID", nullptr, 4},
      {"a container that is a path", "ADD", "CNI_CONTAINERID", "../x", 4},
      {"no interface", "ADD", "CNI_IFNAME", nullptr, 4},
      {"an interface with a slash", "ADD", "CNI_IFNAME", "a/b", 4},
      {"no namespace", "ADD", "CNI_NETNS", nullptr, 4},
      {"a namespace that is not there", "ADD", "CNI_NETNS", "/run/netns/culvert-no-such", 4},
      {"arguments without a value", "ADD", "CNI_ARGS", "K8S_POD_NAME", 4},
      {"no container", "DEL", "CNI_CONTAINERID", nullptr, 4},
      {"no namespace", "CHECK", "CNI_NETNS", nullptr, 4},
      {"no JSON", "ADD", "", "not json", 6},
      {"nothing", "ADD", "", "", 6},
      {"no name", "ADD", "", R"({"cniVersion":"1.1.0","prevResult":{}})", 7},
      {"no prevResult", "ADD", "", R"({"cniVersion":"1.1.0","name":"pods"})", 7},
      {"a version from the future", "ADD", "", R"({"cniVersion":"3.0.0","name":"pods"})", 1},
      {"no list of attachments", "GC", "", R"({"cniVersion":"1.1.0","name":"pods"})", 7},
  };
  for (const Case& item : cases) {
    CAPTURE(item.what, item.command);
    const TempDir dir;
    auto call = call_of(item.command, dir);
    if (std::string_view(item.variable).empty()) {
      call.config = item.value;
    } else if (item.value == nullptr) {
      call.variables.erase(item.variable);
    } else {
      call.variables[item.variable] = item.value;
    }
    const auto output = run_plugin(call);
    CAPTURE(output.text);
    CHECK(output.exit_code == 1);
    const auto error = json::parse(output.text);
    CHECK(error.at("code") == item.code);
    CHECK(error.at("msg").is_string());
    CHECK(error.at("cniVersion").is_string());
  }
}

TEST_CASE("errors are answered in the version of the configuration") {
  const TempDir dir;
  auto call = call_of("ADD", dir);
  call.config.replace(call.config.find("1.1.0"), 5, "0.4.0");
  CHECK(json::parse(run_plugin(call).text).at("cniVersion") == "0.4.0");
}
