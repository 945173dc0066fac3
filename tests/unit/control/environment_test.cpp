// SPDX-License-Identifier: Apache-2.0
#include "control/environment.hpp"

#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

Config applied(const Environment& environment) {
  Config config;
  const auto done = apply_environment(config, environment, [](const std::string&) { return false; });
  INFO((done ? "" : done.error().message()));
  REQUIRE(done);
  return config;
}

}  // namespace

TEST_CASE("without variables the configuration stays, but for a token that is not there") {
  Config expected;
  expected.control_plane.token.clear();
  CHECK(applied({}) == expected);
}

TEST_CASE("ztunnel's variables say where the control plane is and who asks") {
  const Config config = applied({{"XDS_ADDRESS", "https://istiod:15012"},
                                 {"CA_ADDRESS", "https://ca:15012"},
                                 {"XDS_ROOT_CA", "SYSTEM"},
                                 {"ALT_XDS_HOSTNAME", "istiod.istio-system.svc"},
                                 {"AUTH_TOKEN", "/token"},
                                 {"XDS_HEADER_Tenant", "seven"},
                                 {"CA_HEADER_X", "y"},
                                 {"NODE_NAME", "node-a"},
                                 {"CLUSTER_ID", "one"},
                                 {"ISTIO_META_CLUSTER_ID", "two"},
                                 {"ISTIO_METAJSON_LABELS", "{}"},
                                 {"NETWORK", "net"},
                                 {"POD_NAME", "p"},
                                 {"SECRET_TTL", "90m"}});
  CHECK(config.control_plane.xds_address == "https://istiod:15012");
  CHECK(config.control_plane.ca_address == "https://ca:15012");
  CHECK(config.control_plane.xds_roots == "SYSTEM");
  CHECK(config.control_plane.xds_alternative_name == "istiod.istio-system.svc");
  CHECK(config.control_plane.token == "/token");
  CHECK(config.control_plane.xds_headers == HeaderList{{"tenant", "seven"}});
  CHECK(config.control_plane.ca_headers == HeaderList{{"x", "y"}});
  CHECK(config.control_plane.metadata == HeaderList{{"CLUSTER_ID", "two"}});
  CHECK(config.control_plane.metadata_json == HeaderList{{"LABELS", "{}"}});
  CHECK(config.control_plane.certificate_lifetime_ms == 90ULL * 60'000);
  CHECK(config.node_name == "node-a");
  CHECK(config.cluster == "two");
  CHECK(config.network == "net");
}

TEST_CASE("in a pod istiod is where it usually is, unless an empty address says that there is none") {
  CHECK(applied({{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}}).control_plane.xds_address ==
        "https://istiod.istio-system.svc:15012");
  CHECK(applied({{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}, {"XDS_ADDRESS", ""}}).control_plane.xds_address.empty());
}

TEST_CASE("worker threads and drain times follow ztunnel's rules") {
  struct Case {
    Environment environment;
    std::uint32_t workers;
    std::uint64_t drain_ms;
  };
  const auto [environment, workers, drain_ms] = GENERATE(values<Case>({
      {{{"ZTUNNEL_WORKER_THREADS", "3"}}, 3, 25'000},
      {{{"ZTUNNEL_WORKER_THREADS", "25%"}, {"ZTUNNEL_CPU_LIMIT", "10"}}, 3, 25'000},
      {{{"ZTUNNEL_WORKER_THREADS", "0"}, {"ZTUNNEL_CPU_LIMIT", "6"}}, 6, 25'000},
      {{{"ZTUNNEL_RESOURCE_CPU_LIMIT", "1500m"}, {"ZTUNNEL_RESOURCE_CPU_REQUEST", "4"}}, 4, 25'000},
      {{{"ZTUNNEL_CPU_LIMIT", "16"}, {"ZTUNNEL_RESOURCE_CPU_REQUEST", "200m"}}, 4, 25'000},
      {{{"TERMINATION_GRACE_PERIOD_SECONDS", "30"}}, 0, 25'000},
      {{{"TERMINATION_GRACE_PERIOD_SECONDS", "8"}}, 0, 7'000},
      {{{"TERMINATION_GRACE_PERIOD_SECONDS", "1"}}, 0, 1'000},
      {{{"CONNECTION_TERMINATION_DEADLINE", "1m30s"}, {"TERMINATION_GRACE_PERIOD_SECONDS", "30"}}, 0, 90'000},
  }));
  const Config config = applied(environment);
  CHECK(config.workers == workers);
  CHECK(config.drain.timeout_ms == drain_ms);
}

TEST_CASE("a value that cannot be read is an error that names variable and value, and nothing is taken over") {
  const std::string name = GENERATE("SECRET_TTL", "ZTUNNEL_WORKER_THREADS", "XDS_ON_DEMAND", "PACKET_MARK",
                                    "HTTP2_FRAME_SIZE", "ZTUNNEL_CPU_LIMIT", "POOL_UNUSED_RELEASE_TIMEOUT");
  Config config;
  const Config before = config;
  const auto done =
      apply_environment(config, {{name, "nonsense"}, {"NODE_NAME", "node-a"}}, [](const std::string&) { return true; });
  REQUIRE_FALSE(done);
  CHECK(done.error().message().starts_with("invalid env var " + name + "=nonsense ("));
  CHECK(config == before);
}

TEST_CASE("durations are numbers with units, one after the other") {
  CHECK(parse_environment_duration_ms("180s").value() == 180'000);
  CHECK(parse_environment_duration_ms("1h30m").value() == 5'400'000);
  CHECK(parse_environment_duration_ms("250ms").value() == 250);
  for (const std::string_view bad : {"", "5", "s", "5x", "1h3", "-1s", "99999999999999999999s"}) {
    INFO(bad);
    CHECK_FALSE(parse_environment_duration_ms(bad));
  }
}

}  // namespace culvert::control
