// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "hbone/messages.hpp"

using namespace culvert;
using namespace culvert::hbone;

TEST_CASE("an authority is a socket address or a host name, with a port") {
  struct Case {
    std::string_view text;
    std::string_view endpoint;  // or
    std::string_view host;
    std::uint16_t port;
  };
  const Case cases[] = {
      {"10.0.0.1:80", "10.0.0.1:80", "", 80},
      {"[2001:db8::1]:65535", "[2001:db8::1]:65535", "", 65'535},
      {"[::ffff:10.0.0.1]:1", "10.0.0.1:1", "", 1},
      {"[::]:15008", "[::]:15008", "", 15'008},
      {"web.shop.svc.cluster.local:80", "", "web.shop.svc.cluster.local", 80},
      {"a:1", "", "a", 1},
      {"My_Host-1.Example:443", "", "My_Host-1.Example", 443},
      {"1a.2b:80", "", "1a.2b", 80},
  };
  for (const Case& one : cases) {
    CAPTURE(one.text);
    const auto authority = parse_authority(one.text);
    REQUIRE(authority.has_value());
    CHECK(authority->port == one.port);
    CHECK(authority->host == one.host);
    REQUIRE(authority->endpoint.has_value() == !one.endpoint.empty());
    if (authority->endpoint) CHECK(authority->endpoint->to_string() == one.endpoint);
  }
}

TEST_CASE("what is not an authority is refused") {
  using namespace std::string_view_literals;
  const std::string long_label(64, 'a');
  std::string long_host;
  while (long_host.size() < 254) long_host += "abcdefg.";
  const std::string_view cases[] = {"",
                                    ":",
                                    ":80",
                                    "10.0.0.1",
                                    "10.0.0.1:",
                                    "10.0.0.1:0",
                                    "10.0.0.1:00",
                                    "10.0.0.1:080",
                                    "10.0.0.1:65536",
                                    "10.0.0.1:+80",
                                    "10.0.0.1:-1",
                                    "10.0.0.1:8 0",
                                    "10.0.0.1: 80",
                                    " 10.0.0.1:80",
                                    "10.0.0.1:80 ",
                                    "10.0.0.1:80x",
                                    "10.0.0.256:80",
                                    "10.0.0:80",
                                    "1:80",
                                    "10.0.0.1.5:80",
                                    "0x7f.1:0x50",
                                    "2001:db8::1:80",
                                    "[2001:db8::1]",
                                    "[2001:db8::1:80",
                                    "[10.0.0.1]:80",
                                    "[]:80",
                                    "[web]:80",
                                    "[fe80::1%eth0]:80",
                                    "[::1]]:80",
                                    "web..shop:80",
                                    ".web:80",
                                    "web.:80",
                                    "-web:80",
                                    "web-:80",
                                    "we b:80",
                                    "web/x:80",
                                    "user@web:80",
                                    "http://web:80",
                                    "web:80:80",
                                    "we\0b:80"sv,
                                    "w\xc3\xbc:80",
                                    "*:80"};
  for (const std::string_view text : cases) {
    CAPTURE(text);
    CHECK_FALSE(parse_authority(text).has_value());
  }
  CHECK_FALSE(parse_authority(long_label + ":80").has_value());
  CHECK_FALSE(parse_authority(long_host + "x:80").has_value());
}

TEST_CASE("an authority that is written reads back as it was") {
  for (const std::string_view text : {"10.0.0.1:80", "[2001:db8::1]:443"}) {
    const auto authority = parse_authority(text);
    REQUIRE(authority.has_value());
    CHECK(format_authority(*authority->endpoint) == text);
  }
  CHECK(format_authority("web.shop", 80) == "web.shop:80");
}

TEST_CASE("baggage has its members in a fixed order and leaves out what is unknown") {
  const Baggage all{.cluster = "Kubernetes",
                    .namespace_name = "shop",
                    .workload_type = "deployment",
                    .workload_name = "cart",
                    .service = "cart",
                    .revision = "v1",
                    .region = "eu",
                    .zone = "eu-1"};
  const std::string text = format_baggage(all);
  CHECK(text ==
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,service."
        "version=v1,"
        "cloud.region=eu,cloud.availability_zone=eu-1");
  CHECK(parse_baggage(text) == all);
  CHECK(format_baggage({}).empty());
  CHECK(format_baggage({.workload_type = "pod"}).empty());
  CHECK(format_baggage({.workload_type = "pod", .workload_name = "x", .zone = "z"}) ==
        "k8s.pod.name=x,cloud.availability_zone=z");
}

TEST_CASE("baggage is read member by member") {
  struct Case {
    std::string_view text;
    Baggage baggage;
  };
  const Case cases[] = {
      {"", {}},
      {",,,", {}},
      {"=", {}},
      {"k8s.cluster.name", {}},
      {"k8s.cluster.name=", {}},
      {"k8s.cluster.name=a", {.cluster = "a"}},
      {"k8s.cluster.name=a=b", {.cluster = "a"}},
      {"k8s.cluster.name=a,k8s.cluster.name=b", {.cluster = "b"}},
      {"k8s.cluster.name=a,k8s.cluster.name=", {.cluster = "a"}},
      {" k8s.cluster.name=a", {}},
      {"k8s.cluster.name= a ", {.cluster = " a "}},
      {"k8s.cronjob.name=n", {.workload_type = "cronjob", .workload_name = "n"}},
      {"k8s.job.name=n", {.workload_type = "job", .workload_name = "n"}},
      {"k8s.pod.name=p,k8s.deployment.name=d", {.workload_type = "deployment", .workload_name = "d"}},
      {"k8s.statefulset.name=n", {}},
      {"k8s..name=n", {}},
      {"k8s.name=n", {}},
      {"other=1,service.name=s,service.version=v", {.service = "s", .revision = "v"}},
  };
  for (const Case& one : cases) {
    CAPTURE(one.text);
    CHECK(parse_baggage(one.text) == one.baggage);
  }
}

TEST_CASE("forwarded names the source, and the service where it is known") {
  CHECK(format_forwarded(Endpoint::parse("10.1.0.5:4000").value(), {}) == "for=\"10.1.0.5:4000\"");
  CHECK(format_forwarded(Endpoint::parse("[::1]:1234").value(), "web.shop") == "for=\"[::1]:1234\";host=web.shop");
}

TEST_CASE("the host of a forwarded header is found or there is none") {
  struct Case {
    std::string_view text;
    std::string_view host;
  };
  const Case cases[] = {
      {"", ""},
      {"for=\"10.0.0.1:80\"", ""},
      {"for=\"10.0.0.1:80\";host=web.shop", "web.shop"},
      {"host=\"web.shop:80\";for=x", "web.shop:80"},
      {"for=x; Host=web", "web"},
      {"for=\"a;host=b\";host=c", "c"},
      {"for=\"a\\\";host=b\";host=c", "c"},
      {"for=a, for=b;host=c", "c"},
      {"host=", ""},
      {"host=\"\"", ""},
      {"host=\"a\\\"b\"", ""},
      {"host=w\xc3\xbc", ""},
      {"host=a b", ""},
      {"host=\"", ""},
      {"xhost=a", ""},
      {";;,,=,", ""},
      {"for=\"unfinished;host=a", ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.text);
    CHECK(forwarded_host(one.text) == one.host);
  }
}

TEST_CASE("a trace context is 55 characters of version 00") {
  const TraceParent parent{.trace_high = 0x0123456789abcdef, .trace_low = 1, .span = 0xfedcba9876543210};
  const std::string text = format_traceparent(parent);
  CHECK(text == "00-0123456789abcdef0000000000000001-fedcba9876543210-00");
  CHECK(parse_traceparent(text) == parent);
  TraceParent sampled = parent;
  sampled.is_sampled = true;
  CHECK(format_traceparent(sampled) == "00-0123456789abcdef0000000000000001-fedcba9876543210-01");
  CHECK(parse_traceparent("00-0123456789abcdef0000000000000001-fedcba9876543210-01") == sampled);
  CHECK(parse_traceparent("00-0123456789abcdef0000000000000001-fedcba9876543210-ff") == sampled);
  CHECK(parse_traceparent("00-0123456789abcdef0000000000000001-fedcba9876543210-02") == parent);
  const std::string_view cases[] = {
      "",
      "00-0123456789abcdef0000000000000001-fedcba9876543210-0",
      "00-0123456789abcdef0000000000000001-fedcba9876543210-000",
      "01-0123456789abcdef0000000000000001-fedcba9876543210-00",
      "00-0123456789ABCDEF0000000000000001-fedcba9876543210-00",
      "00-0123456789abcdeg0000000000000001-fedcba9876543210-00",
      "00-00000000000000000000000000000000-fedcba9876543210-00",
      "00-0123456789abcdef0000000000000001-0000000000000000-00",
      "00_0123456789abcdef0000000000000001-fedcba9876543210-00",
      "00-0123456789abcdef0000000000000001_fedcba9876543210-00",
      "00-0123456789abcdef0000000000000001-fedcba9876543210_00",
      "00-0123456789abcdef0000000000000001-fedcba9876543210-0x",
  };
  for (const std::string_view one : cases) {
    CAPTURE(one);
    CHECK_FALSE(parse_traceparent(one).has_value());
  }
}
