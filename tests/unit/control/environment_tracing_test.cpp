// SPDX-License-Identifier: Apache-2.0
#include "control/environment_tracing.hpp"

#include <catch2/catch.hpp>

#include "control/config_tracing.hpp"

namespace culvert::control {
namespace {

TracingConfig read(const Environment& environment, std::string& error) {
  EnvironmentReader reader(environment);
  TracingConfig config;
  read_tracing(reader, config);
  error = reader.error();
  return config;
}

TracingConfig read(const Environment& environment) {
  std::string error;
  TracingConfig config = read(environment, error);
  INFO(error);
  REQUIRE(error.empty());
  return config;
}

}  // namespace

TEST_CASE("without OpenTelemetry's variables, or with empty ones, nothing changes") {
  CHECK(read({}) == TracingConfig());
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", ""}, {"OTEL_TRACES_SAMPLER", ""}, {"OTEL_SDK_DISABLED", ""}}) ==
        TracingConfig());
}

TEST_CASE("the collector of traces comes before that of everything, and a scheme before what is said of encryption") {
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"}}).endpoint == "http://all:4317");
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces"}})
            .endpoint == "https://traces:4317");
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "c:1"}, {"OTEL_EXPORTER_OTLP_INSECURE", "true"}}).endpoint ==
        "http://c:1");
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"}, {"OTEL_EXPORTER_OTLP_INSECURE", "true"}}).endpoint ==
        "https://c:4317");
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "c"}, {"OTEL_TRACES_EXPORTER", "none"}}).endpoint.empty());
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "c"}, {"OTEL_SDK_DISABLED", "true"}}).endpoint.empty());
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "c:no-port"}, {"OTEL_SDK_DISABLED", "True"}}).endpoint.empty());
  CHECK(read({{"OTEL_EXPORTER_OTLP_ENDPOINT", "c:no-port"}, {"OTEL_TRACES_EXPORTER", "none"}}).endpoint.empty());
  // Somebody else's protocol is no mistake of ours while we export nothing.
  CHECK(read({{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"}}).endpoint.empty());
}

TEST_CASE("samplers have the names of the specification") {
  struct Case {
    const char* sampler;
    const char* argument;
    std::uint32_t share;
    bool follows_parent;
  };
  const auto [sampler, argument, share, follows_parent] = GENERATE(values<Case>({
      {"always_on", "", 1'000'000, false},
      {"always_off", "", 0, false},
      {"traceidratio", "0.25", 250'000, false},
      {"traceidratio", "", 1'000'000, false},
      {"parentbased_always_on", "0.5", 1'000'000, true},
      {"parentbased_always_off", "", 0, true},
      {"parentbased_traceidratio", "0.000001", 1, true},
      {"parentbased_traceidratio", "1", 1'000'000, true},
  }));
  INFO(sampler);
  const TracingConfig config = read({{"OTEL_TRACES_SAMPLER", sampler}, {"OTEL_TRACES_SAMPLER_ARG", argument}});
  CHECK(config.share == share);
  CHECK(config.follows_parent == follows_parent);
}

TEST_CASE("headers and attributes are pairs with percent signs") {
  const TracingConfig config = read({{"OTEL_EXPORTER_OTLP_HEADERS", "Api-Key = a%2Cb , x=,"},
                                     {"OTEL_RESOURCE_ATTRIBUTES", "service.name=one,zone=z%3D1"},
                                     {"OTEL_EXPORTER_OTLP_TIMEOUT", "2500"},
                                     {"OTEL_BSP_MAX_QUEUE_SIZE", "100"},
                                     {"OTEL_BSP_SCHEDULE_DELAY", "1000"}});
  CHECK(config.headers == HeaderList{{"api-key", "a,b"}, {"x", ""}});
  CHECK(config.resource == HeaderList{{"zone", "z=1"}});
  CHECK(config.service_name == "one");
  CHECK(config.timeout_ms == 2'500);
  CHECK(config.queued_spans_max == 100);
  CHECK(config.export_interval_ms == 1'000);
  CHECK(read({{"OTEL_RESOURCE_ATTRIBUTES", "service.name=one"}, {"OTEL_SERVICE_NAME", "two"}}).service_name == "two");
}

TEST_CASE("a variable that cannot be read is named with its value and the remedy") {
  struct Case {
    const char* name;
    const char* value;
    const char* wanted;
  };
  const auto [name, value, wanted] = GENERATE(values<Case>({
      {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/v1/traces", "without a path"},
      {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:70000", "HOST:PORT"},
      {"OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"},
      {"OTEL_TRACES_SAMPLER", "jaeger_remote", "traceidratio"},
      {"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a number from 100 to 60000"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a", "KEY=VALUE"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "KEY=VALUE"},
      {"OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "cannot be that of a header"},
      {"OTEL_RESOURCE_ATTRIBUTES", "=x", "KEY=VALUE"},
      {"OTEL_BSP_MAX_QUEUE_SIZE", "0", "a number from 1"},
      {"OTEL_SDK_DISABLED", "yes", "true or false"},
  }));
  std::string error;
  static_cast<void>(read({{name, value}}, error));
  INFO(error);
  const bool is_secret = std::string_view(name).ends_with("_HEADERS");
  CHECK(error.starts_with(std::string("invalid env var ") + name + "=" + (is_secret ? "(not shown)" : value) + " ("));
  CHECK(error.find(wanted) != std::string::npos);
  static_cast<void>(read({{"OTEL_TRACES_SAMPLER", "traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "2"}}, error));
  CHECK(error.find("OTEL_TRACES_SAMPLER_ARG=2") != std::string::npos);
}

TEST_CASE("a percentage has four digits behind its point at most") {
  CHECK(parse_share("12.5", 100).value() == 125'000);
  CHECK(parse_share("0.0001", 100).value() == 1);
  CHECK(parse_share("100", 100).value() == 1'000'000);
  for (const char* bad : {"", "-1", "100.1", "0.00001", "1e1", "1%", "nan", "inf"}) {
    INFO(bad);
    CHECK_FALSE(parse_share(bad, 100));
  }
}

}  // namespace culvert::control
