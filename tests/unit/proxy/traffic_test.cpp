// SPDX-License-Identifier: Apache-2.0
// Which labels a flow is counted under, and what is counted when.
#include "proxy/traffic.hpp"

#include <chrono>

#include <catch2/catch.hpp>

#include "parts.hpp"
#include "proxy/baggage.hpp"
#include "state/snapshot_builder.hpp"
#include "telemetry/traffic_rows.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

state::Workload workload(std::string_view name, std::string_view address, std::string_view service_account) {
  state::Workload made;
  made.uid = fmt::format("shop/{}", name);
  made.name = name;
  made.type = state::WorkloadType::Deployment;
  made.workload_name = fmt::format("{}-deployment", name);
  made.namespace_name = "shop";
  made.canonical_name = fmt::format("{}-canonical", name);
  made.canonical_revision = "v2";
  made.identity = SpiffeId::make("cluster.local", "shop", service_account).value();
  made.addresses = {IpAddress::parse(address).value()};
  made.region = "eu";
  return made;
}

struct Fixture {
  test::Parts parts;
  WorkerPod& pod = *parts.state.pods.find(test::kSlot);

  Fixture() {
    state::SnapshotBuilder builder("");
    REQUIRE(builder.add(workload("cart", "10.1.0.5", "cart")));
    REQUIRE(builder.add(workload("web", "10.2.0.7", "web")));
    state::Service service;
    service.name = "web";
    service.namespace_name = "shop";
    service.hostname = "web.shop.svc";
    REQUIRE(builder.add(std::move(service)));
    parts.state.snapshot = std::move(builder).build(1);
    pod.workload = parts.state.snapshot->find_uid("shop/cart");
  }
  state::Route route(state::RouteKind kind) const {
    state::Route made;
    made.kind = kind;
    made.workload = parts.state.snapshot->find_uid("shop/web");
    made.service = parts.state.snapshot->find_service("shop", "web.shop.svc");
    return made;
  }
  // In no queue.
  Flow& flow(FlowRole role) {
    Flow& made = *parts.state.new_flow(role, test::kSlot);
    made.state = FlowState::Open;
    return made;
  }
  // Decided, and about to be connected.
  Flow& labelled(FlowRole role, state::RouteKind kind) {
    Flow& made = flow(role);
    label_outbound(parts.state, made, pod, route(kind));
    return made;
  }
  // The one set that something was opened under, as text.
  std::string labels() const {
    std::string out;
    telemetry::append_labels(out, row().labels, "-");
    return out;
  }
  telemetry::TrafficRow row() const {
    const telemetry::TrafficTable* tables[] = {&parts.state.traffic};
    const auto rows = telemetry::traffic_rows(tables);
    REQUIRE(rows.size() == 1);
    return rows[0];
  }
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("in baggage a pod is what the mesh says that it is, and itself where it says nothing") {
  Fixture fixture;
  fixture.pod.workload = fixture.parts.state.snapshot->find(IpAddress::parse("10.1.0.5").value());
  CHECK(pod_baggage(fixture.parts.state, test::kSlot) ==
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart-deployment,service.name=cart-"
        "canonical,"
        "service.version=v2,cloud.region=eu");
  fixture.pod.workload = nullptr;
  fixture.pod.setup.namespace_name = "shop";
  fixture.pod.setup.name = "cart-7f8c";
  fixture.pod.baggage.clear();
  CHECK(pod_baggage(fixture.parts.state, test::kSlot) ==
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=cart-7f8c,service.name=cart-7f8c,service."
        "version=latest");
}

TEST_CASE("an outbound flow through a tunnel tells of both ends, the service and who the client is") {
  Fixture fixture;
  Flow& flow = fixture.labelled(FlowRole::Outbound, state::RouteKind::Tunnel);
  count_opened(flow);
  const std::string labels = fixture.labels();
  INFO(labels);
  CHECK(
      has(labels, R"({reporter="source",source_workload="cart-deployment",source_canonical_service="cart-canonical")"));
  CHECK(has(labels, R"(source_principal="spiffe://)"));
  CHECK(has(labels, R"(source_app="cart-canonical",source_version="v2",source_cluster="Kubernetes")"));
  CHECK(
      has(labels,
          R"(destination_service="web.shop.svc",destination_service_namespace="shop",destination_service_name="web")"));
  CHECK(has(labels, R"(destination_workload="web-deployment")"));
  CHECK(has(labels, R"(destination_principal="spiffe://cluster.local/ns/shop/sa/web")"));
  CHECK(has(labels, R"(connection_security_policy="mutual_tls")"));
  CHECK(has(labels, R"(source_region="eu",source_zone="unknown",destination_region="eu")"));
}

TEST_CASE("in plain text nobody has shown who the client is, and the destination is whoever the mesh says") {
  Fixture fixture;
  Flow& flow = fixture.labelled(FlowRole::Passthrough, state::RouteKind::Plain);
  count_opened(flow);
  const std::string labels = fixture.labels();
  CHECK(has(labels, R"(source_principal="unknown")"));
  CHECK(has(labels, R"(destination_principal="spiffe://cluster.local/ns/shop/sa/web")"));
  CHECK(has(labels, R"(connection_security_policy="unknown")"));
}

TEST_CASE("what moves before a flow is open counts as it opens, and its end has one flag") {
  Fixture fixture;
  Flow& flow = fixture.labelled(FlowRole::Outbound, state::RouteKind::Tunnel);
  count_bytes(flow, true, 10);
  count_opened(flow);
  count_opened(flow);
  count_bytes(flow, true, 5);
  count_bytes(flow, false, 7);
  CHECK(fixture.row().opened == 1);
  CHECK(fixture.row().received_bytes == 15);
  CHECK(fixture.row().sent_bytes == 7);
  CHECK(flow.received_bytes == 15);
  fixture.parts.finisher.abort(flow, CloseReason::HandshakeFailed);
  const telemetry::TrafficRow row = fixture.row();
  CHECK(row.closed[3] == 1);
  CHECK(telemetry::kResponseFlags[3] == "TLS_FAILURE");
  CHECK(row.closed[telemetry::kNoFlag] == 0);
}

TEST_CASE("an outbound flow that fails on its way counts as opened, closed and failed") {
  Fixture fixture;
  Flow& flow = fixture.flow(FlowRole::Outbound);
  state::Route refused = fixture.route(state::RouteKind::Refused);
  refused.workload = nullptr;
  label_outbound(fixture.parts.state, flow, fixture.pod, refused);
  fixture.parts.finisher.abort(flow, CloseReason::NoRoute);
  CHECK(fixture.row().opened == 1);
  CHECK(fixture.row().closed[2] == 1);
  CHECK(telemetry::kResponseFlags[2] == "CONNECT");
  CHECK(has(fixture.labels(), R"(destination_service_name="web",destination_workload="unknown")"));
}

TEST_CASE("an inbound flow that policy never saw is not in Istio's metrics") {
  Fixture fixture;
  Flow& flow = fixture.flow(FlowRole::InboundTunnel);
  flow.source = Endpoint::parse("10.2.0.7:4000").value();
  label_inbound(fixture.parts.state, flow, fixture.pod, {}, {});
  fixture.parts.finisher.abort(flow, CloseReason::UnknownDestination);
  const telemetry::TrafficTable* tables[] = {&fixture.parts.state.traffic};
  CHECK(telemetry::traffic_rows(tables).empty());
}

TEST_CASE("an inbound client is who has the address, and what it says of itself where nobody has it") {
  struct Case {
    std::string_view source;
    bool is_other_network;
    std::string_view expected;
  };
  const std::string_view baggage =
      "k8s.cluster.name=far,k8s.namespace.name=bank,k8s.deployment.name=teller,service.name=tell,service.version=v9,"
      "cloud.region=us";
  const std::string_view lie = "k8s.namespace.name=shop,k8s.deployment.name=teller";
  const Case cases[] = {
      {"10.2.0.7:4000", false, R"(source_workload="web-deployment",source_canonical_service="web-canonical")"},
      {"10.2.0.7:4000", true,
       R"(source_workload="teller",source_canonical_service="tell",source_canonical_revision="v9",source_workload_namespace="bank")"},
      {"10.9.9.9:4000", false,
       R"(source_workload="teller",source_canonical_service="tell",source_canonical_revision="v9",source_workload_namespace="bank")"},
  };
  for (const Case& one : cases) {
    Fixture fixture;
    Flow& flow = fixture.flow(FlowRole::InboundTunnel);
    flow.source = Endpoint::parse(one.source).value();
    flow.is_other_network = one.is_other_network;
    flow.peer_identity =
        fixture.parts.state.identities.intern(SpiffeId::parse("spiffe://far/ns/bank/sa/teller").value());
    label_inbound(fixture.parts.state, flow, fixture.pod, baggage, {});
    count_opened(flow);
    const std::string labels = fixture.labels();
    INFO(labels);
    CHECK(has(labels, R"({reporter="destination",)"));
    CHECK(has(labels, one.expected));
    CHECK(has(labels, R"(source_principal="spiffe://far/ns/bank/sa/teller")"));
    CHECK(has(labels, R"(destination_principal="spiffe://cluster.local/ns/shop/sa/cart")"));
    const bool is_told = one.expected.find("teller") != std::string_view::npos;
    const telemetry::Party client = fixture.parts.finisher.describe(flow).source;
    CHECK(client.workload == (is_told ? "teller" : "web"));
    CHECK(client.namespace_name == (is_told ? "bank" : "shop"));
    CHECK(client.cluster == (is_told ? "far" : "Kubernetes"));
    if (is_told) {
      Flow& liar = fixture.flow(FlowRole::InboundTunnel);
      liar.source = flow.source;
      liar.is_other_network = one.is_other_network;
      liar.peer_identity = flow.peer_identity;
      label_inbound(fixture.parts.state, liar, fixture.pod, lie, {});
      CHECK(fixture.parts.finisher.describe(liar).source.namespace_name == "bank");
    }
    if (one.expected.find("teller") != std::string_view::npos) {
      CHECK(has(labels, R"(source_app="teller",source_version="v9",source_cluster="far")"));
      CHECK(has(labels, R"(source_region="us",source_zone="unknown")"));
    }
  }
}

TEST_CASE("of what a peer says of itself a connection keeps no more than a name may have") {
  Fixture fixture;
  Flow& flow = fixture.flow(FlowRole::InboundTunnel);
  flow.source = Endpoint::parse("10.9.9.9:4000").value();
  const std::string name(3000, 'n');
  label_inbound(fixture.parts.state, flow, fixture.pod,
                "k8s.namespace.name=" + name + ",k8s.cluster.name=" + name + ",k8s.pod.name=" + name, {});
  const telemetry::Party client = fixture.parts.finisher.describe(flow).source;
  CHECK(client.workload == name.substr(0, 255));
  CHECK(client.namespace_name == name.substr(0, 255));
  CHECK(client.cluster == name.substr(0, 255));
}

TEST_CASE("the far end in another network is who it says it is in its answer") {
  Fixture fixture;
  Flow& flow = fixture.labelled(FlowRole::Outbound, state::RouteKind::Gateway);
  flow.peer_identity = fixture.parts.state.identities.intern(SpiffeId::parse("spiffe://far/ns/bank/sa/teller").value());
  label_far_end(fixture.parts.state, flow, hbone::parse_baggage("k8s.pod.name=teller,service.name=tell"));
  count_opened(flow);
  const std::string labels = fixture.labels();
  CHECK(has(labels, R"(source_workload="cart-deployment")"));
  CHECK(has(labels,
            R"(destination_service_name="web",destination_workload="teller",destination_canonical_service="tell")"));
  CHECK(has(labels, R"(destination_principal="spiffe://far/ns/bank/sa/teller")"));
  // Not the gateway that the tunnel goes to; what it does not say is as its certificate says.
  flow.next_hop = Endpoint::parse("10.2.0.7:15008").value();
  const telemetry::Party far = fixture.parts.finisher.describe(flow).destination;
  CHECK(far.workload == "teller");
  CHECK(far.namespace_name == "bank");
  CHECK(far.cluster.empty());
}

TEST_CASE("flows between the same ends share a set, and a lookup has its own") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) {
    Flow& flow = fixture.flow(FlowRole::Outbound);
    label_outbound(fixture.parts.state, flow, fixture.pod, fixture.route(state::RouteKind::Tunnel));
    count_opened(flow);
  }
  CHECK(fixture.row().opened == 3);
  count_name_lookup(fixture.parts.state, fixture.pod, "db.example");
  count_name_lookup(fixture.parts.state, fixture.pod, "db.example");
  const telemetry::TrafficTable* tables[] = {&fixture.parts.state.traffic};
  const auto rows = telemetry::traffic_rows(tables);
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].labels.kind == telemetry::LabelSet::Kind::NameLookup);
  CHECK(rows[1].opened == 2);
}

TEST_CASE("a pod that the mesh does not tell of is who it joined as") {
  Fixture fixture;
  fixture.pod.workload = nullptr;
  fixture.pod.setup.name = "cart-abc";
  fixture.pod.setup.namespace_name = "shop";
  Flow& flow = fixture.flow(FlowRole::Passthrough);
  label_outbound(fixture.parts.state, flow, fixture.pod, {});
  count_opened(flow);
  CHECK(has(
      fixture.labels(),
      R"(source_workload="cart-abc",source_canonical_service="cart-abc",source_canonical_revision="latest",source_workload_namespace="shop")"));
}

// Not a check of time: what counting costs a connection. `unit_proxy [.bench]`.
TEST_CASE("what a connection's labels cost", "[.bench]") {
  using Clock = std::chrono::steady_clock;
  constexpr unsigned kRounds = 200'000;
  Fixture fixture;
  const state::Route route = fixture.route(state::RouteKind::Tunnel);
  Flow& flow = fixture.flow(FlowRole::Outbound);
  Flow& inbound = fixture.flow(FlowRole::InboundTunnel);
  inbound.source = Endpoint::parse("10.2.0.7:4000").value();
  const auto start = Clock::now();
  for (unsigned i = 0; i < kRounds; ++i) {
    label_outbound(fixture.parts.state, flow, fixture.pod, route);
    count_opened(flow);
    count_closed(fixture.parts.state, flow, CloseReason::Completed);
  }
  const auto between = Clock::now();
  for (unsigned i = 0; i < kRounds; ++i) {
    label_inbound(fixture.parts.state, inbound, fixture.pod, {}, {});
    count_opened(inbound);
    count_closed(fixture.parts.state, inbound, CloseReason::Completed);
  }
  const auto ns = [](Clock::duration time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count() / kRounds;
  };
  WARN("outbound " << ns(between - start) << " ns, inbound " << ns(Clock::now() - between) << " ns, a flow has "
                   << sizeof(Flow) << " bytes");
}

}  // namespace culvert::proxy
