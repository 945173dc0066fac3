// SPDX-License-Identifier: Apache-2.0
// Names, order and values of Istio's traffic labels, and the flags of closed connections.
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "telemetry/response_flag.hpp"
#include "telemetry/traffic_labels.hpp"

namespace culvert::telemetry {
namespace {

std::shared_ptr<const LabelText> share(LabelText text) { return std::make_shared<const LabelText>(std::move(text)); }

std::string written(const LabelSet& set, std::string_view flag = "-") {
  std::string out;
  append_labels(out, set, flag);
  return out;
}

const TrafficParty kCart{true,       "cart", "cart-svc",   "v1", "shop", "spiffe://cluster.local/ns/shop/sa/cart",
                         "cart-svc", "v1",   "Kubernetes", "eu", "eu-1"};

}  // namespace

TEST_CASE("the labels of traffic are Istio's, in its order") {
  LabelSet set{.kind = LabelSet::Kind::Traffic,
               .reporter = Reporter::Destination,
               .policy = SecurityPolicy::MutualTls,
               .source = share(source_text(kCart)),
               .service = share(service_text({"web.shop.svc.cluster.local", "shop", "web"})),
               .destination = share(destination_text({.is_known = true, .workload = "web"}))};
  CHECK(written(set, "DENY") ==
        R"({reporter="destination",source_workload="cart",source_canonical_service="cart-svc",)"
        R"(source_canonical_revision="v1",source_workload_namespace="shop",)"
        R"(source_principal="spiffe://cluster.local/ns/shop/sa/cart",source_app="cart-svc",source_version="v1",)"
        R"(source_cluster="Kubernetes",destination_service="web.shop.svc.cluster.local",)"
        R"(destination_service_namespace="shop",destination_service_name="web",destination_workload="web",)"
        R"(destination_canonical_service="unknown",destination_canonical_revision="unknown",)"
        R"(destination_workload_namespace="unknown",destination_principal="unknown",destination_app="unknown",)"
        R"(destination_version="unknown",destination_cluster="unknown",request_protocol="tcp",)"
        R"(response_flags="DENY",connection_security_policy="mutual_tls",source_region="eu",source_zone="eu-1",)"
        R"(destination_region="unknown",destination_zone="unknown"})");
}

TEST_CASE("locality is told where one end is known, and left out where none is") {
  LabelSet set{.kind = LabelSet::Kind::Traffic,
               .reporter = Reporter::Source,
               .policy = SecurityPolicy::Unknown,
               .source = share(source_text({})),
               .service = share(service_text({})),
               .destination = share(destination_text({}))};
  CHECK(written(set).ends_with(R"(connection_security_policy="unknown"})"));
  set.destination = share(destination_text({.is_known = true, .region = "eu"}));
  CHECK(written(set).ends_with(
      R"(source_region="unknown",source_zone="unknown",destination_region="eu",destination_zone="unknown"})"));
}

TEST_CASE("what peers and names say cannot break the text") {
  const auto name = [](std::string_view value) { return source_text({.workload = value}).text.substr(0, 40); };
  CHECK(name("a\"b\\c\nd").starts_with(R"(source_workload="a\"b\\c\nd",)"));
  CHECK(name("gr\xc3\xbc\xc3\x9f").starts_with("source_workload=\"gr\xc3\xbc\xc3\x9f\","));
  CHECK(name("a\xff\xc3").starts_with("source_workload=\"a\xef\xbf\xbd\xef\xbf\xbd\","));
  CHECK(name(std::string(kLabelBytesMax + 1, 'a')).starts_with(R"(source_workload="unknown",)"));
  CHECK(source_text({.workload = "x\",reporter=\"y"}).text.starts_with(R"(source_workload="x\",reporter=\"y",)"));
}

TEST_CASE("a lookup carries its source and the name") {
  LabelSet set{.kind = LabelSet::Kind::NameLookup,
               .reporter = Reporter::Source,
               .policy = SecurityPolicy::Unknown,
               .source = share(source_text(kCart)),
               .service = share(hostname_text("db.example")),
               .destination = nullptr};
  CHECK(written(set) ==
        R"({source_workload="cart",source_canonical_service="cart-svc",source_canonical_revision="v1",)"
        R"(source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/cart",)"
        R"(source_app="cart-svc",source_version="v1",source_cluster="Kubernetes",hostname="db.example"})");
}

TEST_CASE("each close reason has its response flag, and only who denies says DENY") {
  struct Case {
    CloseReason reason;
    std::string_view inbound;
    std::string_view outbound;
  };
  const Case cases[] = {
      {CloseReason::Completed, "-", "-"},
      {CloseReason::ClientReset, "-", "-"},
      {CloseReason::PodLeft, "-", "-"},
      {CloseReason::PolicyDenied, "DENY", "CONNECT"},
      {CloseReason::PolicyChanged, "DENY", "CONNECT"},
      {CloseReason::UpstreamRefused, "CONNECT", "CONNECT"},
      {CloseReason::NoRoute, "CONNECT", "CONNECT"},
      {CloseReason::TunnelTimeout, "NETWORK_POLICY", "NETWORK_POLICY"},
      {CloseReason::HandshakeFailed, "TLS_FAILURE", "TLS_FAILURE"},
      {CloseReason::PeerIdentity, "TLS_FAILURE", "TLS_FAILURE"},
      {CloseReason::NoCertificate, "IDENTITY_ERROR", "IDENTITY_ERROR"},
      {CloseReason::CertRevoked, "CERT_REVOKED", "CERT_REVOKED"},
      {CloseReason::TunnelProtocol, "H2_HANDSHAKE_FAILURE", "H2_HANDSHAKE_FAILURE"},
      {static_cast<CloseReason>(250), "CONNECT", "CONNECT"},
  };
  for (const Case& one : cases) {
    CAPTURE(label(one.reason));
    CHECK(kResponseFlags[response_flag_of(Direction::Inbound, one.reason)] == one.inbound);
    CHECK(kResponseFlags[response_flag_of(Direction::Outbound, one.reason)] == one.outbound);
  }
}

}  // namespace culvert::telemetry
