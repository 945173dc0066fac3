// SPDX-License-Identifier: Apache-2.0
// The report of preflight, and the probes that need no privilege.
#include <set>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "ctl/preflight.hpp"

namespace culvert::ctl {
namespace {

Checks sample() {
  return {{.id = "kernel", .title = "kernel", .verdict = Verdict::Ok, .found = "6.12.1", .remedy = ""},
          {.id = "tls-module",
           .title = "kernel TLS",
           .verdict = Verdict::Degraded,
           .found = "not there",
           .remedy = "modprobe tls"}};
}

}  // namespace

TEST_CASE("the report says for each thing what there is and what to do") {
  CHECK(view_preflight(sample(), {}) ==
        "ok        kernel      6.12.1\n"
        "degraded  kernel TLS  not there\n"
        "          modprobe tls\n"
        "\n"
        "1 ok, 1 degraded, 0 missing: Culvert runs here; what is degraded costs what its line says.\n");
}

TEST_CASE("a missing thing makes the machine unusable, a degraded one does not") {
  Checks checks = sample();
  CHECK(is_usable(checks));
  checks.push_back(
      {.id = "bpffs", .title = "bpffs", .verdict = Verdict::Missing, .found = "not mounted", .remedy = "mount it"});
  CHECK_FALSE(is_usable(checks));
  CHECK(view_preflight(checks, {}).find("cannot run here") != std::string::npos);
  const auto json = nlohmann::json::parse(json_preflight(checks));
  CHECK(json["usable"] == false);
  CHECK(json["missing"] == 1);
  REQUIRE(json["checks"].size() == 3);
  CHECK(json["checks"][2]["id"] == "bpffs");
  CHECK(json["checks"][2]["verdict"] == "missing");
  CHECK(json["checks"][2]["remedy"] == "mount it");
}

TEST_CASE("a long remedy is broken to the terminal's width") {
  Checks checks = sample();
  checks[1].remedy = "one two three four five six seven eight nine ten";
  CHECK(view_preflight(checks, {.width = 40})
            .find("          one two three four five six\n          seven eight nine ten\n") != std::string::npos);
}

TEST_CASE("kernel releases are read as numbers") {
  CHECK(parse_kernel_version("6.1.0-28-amd64") == KernelVersion{6, 1});
  CHECK(parse_kernel_version("6.18.44-fc") == KernelVersion{6, 18});
  CHECK(parse_kernel_version("7.0") == KernelVersion{7, 0});
  CHECK(parse_kernel_version("six") == KernelVersion{});
  CHECK(parse_kernel_version("") == KernelVersion{});
  CHECK(KernelVersion{5, 15} < KernelVersion{6, 1});
  CHECK(KernelVersion{6, 2} < KernelVersion{6, 12});
}

TEST_CASE(
    "the probes of kernel, TLS and process always come to a verdict with an id of its own and a remedy where one is "
    "needed") {
  Checks checks;
  probe_kernel(checks);
  probe_tls(checks);
  probe_process(checks);
  std::set<std::string> ids;
  for (const Check& check : checks) {
    INFO(check.id);
    CHECK(ids.insert(check.id).second);
    CHECK_FALSE(check.title.empty());
    CHECK_FALSE(check.found.empty());
    CHECK(check.remedy.empty() == (check.verdict == Verdict::Ok));
  }
  for (const char* id : {"kernel", "btf", "bpf-jit", "bpffs", "cgroup2", "ipv6", "tls-module", "ipsec-mb",
                         "capabilities", "pipe-size"}) {
    CHECK(ids.contains(id));
  }
}

}  // namespace culvert::ctl
