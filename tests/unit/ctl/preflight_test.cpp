// SPDX-License-Identifier: Apache-2.0
// The report of preflight, and the probes that need no privilege.
#include <algorithm>
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

TEST_CASE("a pod needs sk_lookup, and clsact or tcx") {
  struct Case {
    const char* what;
    bool has_tcx, has_clsact, has_sk_lookup;
    Verdict tcx, clsact, sk_lookup;
    const char* attachment;
  };
  constexpr auto kOk = Verdict::Ok;
  constexpr auto kDegraded = Verdict::Degraded;
  constexpr auto kMissing = Verdict::Missing;
  for (const Case& test : {Case{"everything", true, true, true, kOk, kOk, kOk, "tcx"},
                           Case{"6.1", false, true, true, kDegraded, kOk, kOk, "clsact"},
                           Case{"tcx alone", true, false, true, kOk, kDegraded, kOk, "tcx"},
                           Case{"neither", false, false, true, kDegraded, kMissing, kOk, "none"},
                           Case{"no sk_lookup", true, true, false, kOk, kOk, kMissing, "tcx"}}) {
    INFO(test.what);
    datapath::Capabilities found;
    found.has_tcx = test.has_tcx;
    found.has_clsact = test.has_clsact;
    found.has_sk_lookup = test.has_sk_lookup;
    found.notes = {
        "Pods cannot be captured: no clsact filter can be attached (why); load the modules sch_ingress and cls_bpf",
        "Pods cannot be captured: no program can be attached at sk_lookup (why)"};
    Checks checks;
    add_hooks(checks, found);
    const auto of = [&checks](std::string_view id) {
      const auto one = std::ranges::find(checks, id, &Check::id);
      REQUIRE(one != checks.end());
      return *one;
    };
    CHECK(of("tcx").verdict == test.tcx);
    CHECK(of("tcx").found == test.attachment);
    CHECK(of("clsact").verdict == test.clsact);
    CHECK(of("sk-lookup").verdict == test.sk_lookup);
    CHECK(is_usable(checks) == (test.clsact != kMissing && test.sk_lookup != kMissing));
    if (!test.has_clsact) CHECK(of("clsact").remedy.find("cls_bpf") != std::string::npos);
    if (!test.has_sk_lookup) CHECK(of("sk-lookup").remedy.find("sk_lookup") != std::string::npos);
  }
}

TEST_CASE("a module is loaded, built in, loadable or not there") {
  constexpr std::string_view kLoaded = "af_packet 65536 0 - Live 0x0\ntls 155648 8 - Live 0x0\n";
  constexpr std::string_view kBuiltIn = "kernel/net/sched/sch_ingress.ko\nkernel/net/ipv6/ipv6.ko\n";
  constexpr std::string_view kLoadable =
      "kernel/drivers/net/mlx5.ko.xz: kernel/net/tls/other.ko.xz\nkernel/net/sched/cls_bpf.ko.xz:\n";
  CHECK(module_state("tls", kLoaded, kBuiltIn, kLoadable) == "loaded");
  CHECK(module_state("af_packet", kLoaded, kBuiltIn, kLoadable) == "loaded");
  CHECK(module_state("sch_ingress", kLoaded, kBuiltIn, kLoadable) == "built in");
  CHECK(module_state("cls_bpf", kLoaded, kBuiltIn, kLoadable) == "loadable");
  CHECK(module_state("mlx5", kLoaded, kBuiltIn, kLoadable) == "loadable");
  CHECK(module_state("other", kLoaded, kBuiltIn, kLoadable) == "not there");  // what another one needs
  CHECK(module_state("packet", kLoaded, kBuiltIn, kLoadable) == "not there");
  CHECK(module_state("tls", "", "", "") == "not there");
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
  for (const char* id : {"kernel", "btf", "bpf-jit", "bpffs", "cgroup2", "ipv6", "modules", "tls-module", "ipsec-mb",
                         "capabilities", "pipe-size"}) {
    CHECK(ids.contains(id));
  }
}

}  // namespace culvert::ctl
