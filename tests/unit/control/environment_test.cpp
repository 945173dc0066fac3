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

std::string refused(const Environment& environment) {
  Config config;
  const auto done = apply_environment(config, environment, [](const std::string&) { return false; });
  REQUIRE_FALSE(done);
  CHECK(config == Config());
  return done.error().message();
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
  const std::string name =
      GENERATE("SECRET_TTL", "ZTUNNEL_WORKER_THREADS", "XDS_ON_DEMAND", "PACKET_MARK", "HTTP2_FRAME_SIZE",
               "ZTUNNEL_CPU_LIMIT", "POOL_UNUSED_RELEASE_TIMEOUT", "ENABLE_RESPONSE_BAGGAGE");
  Config config;
  const Config before = config;
  const auto done =
      apply_environment(config, {{name, "nonsense"}, {"NODE_NAME", "node-a"}}, [](const std::string&) { return true; });
  REQUIRE_FALSE(done);
  CHECK(done.error().message().starts_with("invalid env var " + name + "=nonsense ("));
  CHECK(config == before);
}

TEST_CASE("a key exchange that there is not is refused, not forgotten") {
  Config config;
  const auto done = apply_environment(config, {{"COMPLIANCE_POLICY", "pqc"}}, [](const std::string&) { return true; });
  REQUIRE_FALSE(done);
  CHECK_THAT(done.error().message(),
             Catch::Contains("COMPLIANCE_POLICY=pqc") && Catch::Contains("take the variable away"));
  CHECK_FALSE(applied({{"ENABLE_RESPONSE_BAGGAGE", "false"}}).tunnel.hbone.response_baggage);
}

TEST_CASE("on demand is what the variable says, and not to be had together with names that the agent answers") {
  CHECK_FALSE(applied({}).control_plane.on_demand);
  CHECK(applied({{"XDS_ON_DEMAND", "true"}}).control_plane.on_demand);
  CHECK(applied({{"XDS_ON_DEMAND", "true"}, {"INPOD_ENABLED", "true"}, {"ISTIO_META_DNS_CAPTURE", "false"}})
            .control_plane.on_demand);
  Config config;
  const auto done = apply_environment(config, {{"XDS_ON_DEMAND", "true"}, {"INPOD_ENABLED", "true"}},
                                      [](const std::string&) { return true; });
  REQUIRE_FALSE(done);
  CHECK_THAT(done.error().message(),
             Catch::Contains("XDS_ON_DEMAND") && Catch::Contains("ISTIO_META_DNS_CAPTURE=false"));
}

TEST_CASE("in a cluster the local port is ztunnel's, unless the file says another or none") {
  struct Case {
    Environment environment;
    std::optional<std::uint32_t> in_file;
    std::optional<std::uint32_t> port;
  };
  const auto [environment, in_file, port] = GENERATE(values<Case>({
      {{}, std::nullopt, std::nullopt},
      {{{"NODE_NAME", "a"}}, std::nullopt, std::nullopt},
      {{{"XDS_ADDRESS", "https://istiod:15012"}}, std::nullopt, 15'000},
      {{{"XDS_ADDRESS", ""}}, std::nullopt, std::nullopt},
      {{{"INPOD_ENABLED", "true"}}, std::nullopt, 15'000},
      {{{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}}, 0, 0},
      {{{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}}, 16'000, 16'000},
      {{}, 16'000, 16'000},
  }));
  Config config;
  config.admin.local_port = in_file;
  REQUIRE(apply_environment(config, environment, [](const std::string&) { return false; }));
  CHECK(config.admin.local_port == port);
}

TEST_CASE("RUST_LOG says levels for everything and for scopes, and what cannot be read is passed over") {
  using telemetry::Level;
  const LogConfig log = applied({{"RUST_LOG", "warn,access=off,nonsense,ztunnel::xds=trace,ztunnel=debug,dns=debug"},
                                 {"LOG_FORMAT", "json"}})
                            .log;
  CHECK(log.level == Level::Warn);
  CHECK(log.access_level == Level::Off);
  CHECK(log.message_level == Level::Debug);
  CHECK(log.dns_level == Level::Debug);
  CHECK(log.format == telemetry::Format::Json);
  CHECK(applied({{"RUST_LOG", "trace"}}).log.level == Level::Debug);
  CHECK(applied({{"RUST_LOG", "off"}}).log.level == Level::Off);
  CHECK(applied({{"RUST_LOG", "loud"}}).log == LogConfig());
}

TEST_CASE("durations are numbers with units, one after the other") {
  CHECK(parse_environment_duration_ms("180s").value() == 180'000);
  CHECK(parse_environment_duration_ms("1h30m").value() == 5'400'000);
  CHECK(parse_environment_duration_ms("250ms").value() == 250);
  CHECK(parse_environment_duration_ms("30").value() == 30'000);
  CHECK(parse_environment_duration_ms("2w").value() == 14 * 86'400'000ULL);
  CHECK(parse_environment_duration_ms("1Mon").value() == 30 * 86'400'000ULL);
  CHECK(parse_environment_duration_ms("3m+31").value() == 211'000);
  CHECK(parse_environment_duration_ms("3m + 31 s").value() == 211'000);
  CHECK(parse_environment_duration_ms("1h 30min").value() == 5'400'000);
  CHECK(parse_environment_duration_ms("1500us").value() == 2);
  CHECK(parse_environment_duration_ms("0").value() == 0);
  for (const std::string_view bad : {"", "s", "5x", "-1s", "1s-", "5 6", "1s+", "+1s", " 1s", "1s ", "2m*3", "1.5s",
                                     "101y", "99999999999999999999s", "60y60y"}) {
    INFO(bad);
    const auto parsed = parse_environment_duration_ms(bad);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().message().find("is not a duration such as") != std::string::npos);
  }
}

TEST_CASE("an address of the control plane that cannot be one is refused before it is used, wherever it was said") {
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"XDS_ADDRESS", "https://istiod:port"},
                                          {"CA_ADDRESS", "istiod.local:15012/path"},
                                          {"PROXY_CONFIG", "discoveryAddress: 'is tiod:15012'"}}) {
    INFO(name);
    const std::string message = refused({{name, value}});
    CHECK(message.find(name) != std::string::npos);
    CHECK(message.find("it must be https://HOST:PORT") != std::string::npos);
  }
  CHECK(applied({{"XDS_ADDRESS", ""}}).control_plane.xds_address.empty());
}

TEST_CASE("PROXY_CONFIG says what ztunnel reads of it; single variables come before it") {
  const std::string text =
      "discoveryAddress: istiod.other:15012\nproxyAdminPort: 15500\nstatsPort: 15520\nconcurrency: 3\n"
      "proxyMetadata: {ISTIO_META_CLUSTER_ID: one, FOO: bar, ISTIO_META_DNS_CAPTURE: 'true'}\nunknownKey: {a: 1}\n";
  const Config config = applied({{"PROXY_CONFIG", text}, {"ISTIO_META_FOO", "from-environment"}});
  CHECK(config.control_plane.xds_address == "istiod.other:15012");
  CHECK(config.admin.metrics->port == 15'520);
  CHECK(config.admin.local_port == 15'500U);
  CHECK(config.admin.local_port == 15'500);
  CHECK(config.workers == 3);
  CHECK(config.cluster == "one");
  CHECK(config.dns.capture);
  CHECK(config.control_plane.metadata ==
        HeaderList{{"CLUSTER_ID", "one"}, {"DNS_CAPTURE", "true"}, {"FOO", "from-environment"}});

  const Config over = applied({{"PROXY_CONFIG", text},
                               {"XDS_ADDRESS", ""},
                               {"ZTUNNEL_WORKER_THREADS", "5"},
                               {"CLUSTER_ID", "two"},
                               {"ISTIO_META_CLUSTER_ID", "three"}});
  CHECK(over.control_plane.xds_address.empty());
  CHECK(over.workers == 5);
  CHECK(over.cluster == "three");
}

TEST_CASE("an empty PROXY_CONFIG says nothing, and one that is wrong is named") {
  CHECK(applied({{"PROXY_CONFIG", ""}}) == applied({}));
  CHECK(applied({{"PROXY_CONFIG", "proxyMetadata:"}}) == applied({}));
  const auto error = [](const char* text) {
    Config config;
    const auto done = apply_environment(config, {{"PROXY_CONFIG", text}}, [](const std::string&) { return false; });
    return done ? std::string("accepted") : done.error().message();
  };
  CHECK_THAT(error("statsPort: 70000"),
             Catch::StartsWith("invalid env var PROXY_CONFIG=") &&
                 Catch::Contains("statsPort is \"70000\"; a number from 0 to 65535 is wanted"));
  CHECK_THAT(error("discoveryAddress: [a]"), Catch::Contains("discoveryAddress must be one value"));
  CHECK_THAT(error("proxyMetadata: [a]"), Catch::Contains("proxyMetadata must be a map of texts"));
  CHECK_THAT(error("a: [b"), Catch::Contains("not YAML"));
  CHECK_THAT(error("just text"), Catch::Contains("a map of keys and values is wanted"));
}

TEST_CASE("the mesh file lies below PROXY_CONFIG, and names the mesh's trust domains") {
  const auto mesh = mesh_settings_from(
      "trustDomain: new.example\ntrustDomainAliases: [old.example, older.example]\n"
      "defaultConfig:\n  statsPort: 1000\n  concurrency: 2\n  proxyMetadata: {A: mesh, B: mesh}\n");
  REQUIRE(mesh);
  Config config;
  config.trust_domain_aliases = {"old.example"};
  REQUIRE(apply_environment(
      config, {{"PROXY_CONFIG", "{statsPort: 2000, proxyMetadata: {B: env}}"}},
      [](const std::string&) { return false; }, *mesh));
  CHECK(config.trust_domain == "new.example");
  CHECK(config.trust_domain_aliases == std::vector<std::string>{"old.example", "older.example"});
  CHECK(config.admin.metrics->port == 2000);
  CHECK(config.workers == 2);
  CHECK(config.control_plane.metadata == HeaderList{{"A", "mesh"}, {"B", "env"}});

  CHECK(mesh_settings_from("").value().proxy.metadata.empty());
  CHECK_THAT(mesh_settings_from("trustDomainAliases: [Upper]").error().message(),
             Catch::Contains("trustDomainAliases has \"Upper\", which is not a trust domain"));
  CHECK_THAT(mesh_settings_from("defaultConfig: {concurrency: many}").error().message(),
             Catch::Contains("concurrency is \"many\""));
}

}  // namespace culvert::control
