// SPDX-License-Identifier: Apache-2.0
#include <map>

#include <catch2/catch.hpp>

#include "environment.hpp"

namespace {

using namespace culvert::cni_plugin;
using Variables = std::map<std::string, std::string>;

auto read(const Variables& variables) {
  return read_environment([&variables](const char* name) -> const char* {
    const auto place = variables.find(name);
    return place == variables.end() ? nullptr : place->second.c_str();
  });
}

Variables of_pod(const char* command) {
  return {{"CNI_COMMAND", command}, {"CNI_CONTAINERID", "c1"}, {"CNI_IFNAME", "eth0"}, {"CNI_NETNS", "/run/netns/a"}};
}

}  // namespace

TEST_CASE("each command names the variables that it lacks") {
  struct Case {
    const char* command;
    const char* variable;
    bool is_required;
  };
  const Case cases[] = {
      {"ADD", "CNI_CONTAINERID", true},   {"ADD", "CNI_IFNAME", true},    {"ADD", "CNI_NETNS", true},
      {"CHECK", "CNI_CONTAINERID", true}, {"CHECK", "CNI_IFNAME", true},  {"CHECK", "CNI_NETNS", true},
      {"DEL", "CNI_CONTAINERID", true},   {"DEL", "CNI_IFNAME", false},   {"DEL", "CNI_NETNS", false},
      {"GC", "CNI_CONTAINERID", false},   {"STATUS", "CNI_NETNS", false}, {"VERSION", "CNI_CONTAINERID", false},
  };
  for (const Case& item : cases) {
    CAPTURE(item.command, item.variable);
    Variables variables = of_pod(item.command);
    REQUIRE(read(variables));
    variables.erase(item.variable);
    const auto environment = read(variables);
    CHECK(environment.has_value() != item.is_required);
    if (!environment) {
      CHECK(environment.error().code == CniErrorCode::InvalidEnvironment);
      CHECK_THAT(environment.error().message, Catch::Contains(item.variable));
    }
  }
}

TEST_CASE("a missing or unknown command is an error") {
  CHECK_THAT(read({}).error().message, Catch::Contains("CNI_COMMAND"));
  CHECK_THAT(read(of_pod("FETCH")).error().message, Catch::Contains("FETCH"));
  CHECK_FALSE(read(of_pod("add")));
}

TEST_CASE("the pod's names come from CNI_ARGS, whatever else stands there") {
  Variables variables = of_pod("ADD");
  variables["CNI_ARGS"] =
      "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=7;K8S_POD_SERVICE_ACCOUNT=cart;";
  const auto environment = read(variables);
  REQUIRE(environment);
  CHECK(environment->pod_namespace == "shop");
  CHECK(environment->pod_name == "cart-0");
  CHECK(environment->pod_service_account == "cart");
}

TEST_CASE("malformed values are refused") {
  struct Case {
    const char* variable;
    const char* value;
  };
  const Case cases[] = {{"CNI_CONTAINERID", "../../etc"},
                        {"CNI_CONTAINERID", ".a"},
                        {"CNI_IFNAME", "much-too-long-name"},
                        {"CNI_IFNAME", "a/b"},
                        {"CNI_IFNAME", ".."},
                        {"CNI_IFNAME", "a b"},
                        {"CNI_IFNAME", "a:b"},
                        {"CNI_NETNS", "relative"},
                        {"CNI_ARGS", "K8S_POD_NAME"},
                        {"CNI_ARGS", "K8S_POD_NAME=a/b"},
                        {"CNI_ARGS", "K8S_POD_NAMESPACE=.."}};
  for (const Case& item : cases) {
    CAPTURE(item.variable, item.value);
    Variables variables = of_pod("ADD");
    variables[item.variable] = item.value;
    CHECK_FALSE(read(variables));
  }
}

TEST_CASE("a DEL needs the container's id and nothing else") {
  Variables variables = of_pod("DEL");
  variables["CNI_ARGS"] = "nonsense";
  variables["CNI_IFNAME"] = "../";
  CHECK(read(variables));
}
