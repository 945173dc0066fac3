// SPDX-License-Identifier: Apache-2.0
// One scrape, as text.
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

#include "telemetry/exposition.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::telemetry {
namespace {

std::string to_text(const Families& families) {
  std::string out;
  for (const auto& family : families) append_family(out, family, ExpositionFormat::Text);
  return out;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("the workers' counters are summed") {
  const auto first = std::make_unique<WorkerCounters>();
  const auto second = std::make_unique<WorkerCounters>();
  const auto out = static_cast<std::size_t>(Direction::Outbound);
  first->closed[out][static_cast<std::size_t>(CloseReason::Completed)].add(2);
  second->closed[out][static_cast<std::size_t>(CloseReason::ClientReset)].add(1);
  first->live[out].add(2);
  first->tunnels_open.add(5);
  second->tunnels_open.add(6);
  second->tunnels_open.subtract(1);
  const WorkerCounters* workers[] = {first.get(), second.get()};

  const std::string text = to_text(worker_families(workers));
  INFO(text);
  CHECK(has_line(text, R"(istio_tcp_sockets_open{reporter="source"} 2)"));
  CHECK(has_line(text, R"(istio_tcp_sockets_open{reporter="destination"} 0)"));
  CHECK(has_line(text, R"(culvert_connections_closed_total{direction="outbound",reason="completed"} 2)"));
  CHECK(has_line(text, R"(culvert_connections_closed_total{direction="outbound",reason="client_reset"} 1)"));
  CHECK(has_line(text, R"(culvert_connections_closed_total{direction="inbound",reason="completed"} 0)"));
  CHECK(text.find("reason=\"bad_record\"") == std::string::npos);
  CHECK(has_line(text, "# TYPE culvert_tunnels_open gauge"));
  CHECK(has_line(text, "culvert_tunnels_open 10"));
  CHECK(has_line(text, "# TYPE culvert_tls_handshakes_client_total counter"));
  CHECK(has_line(text, "culvert_workers 2"));
}

TEST_CASE("the limit of label sets, and what went beyond it, are told") {
  LabelBudget budget(1);
  TrafficTable table(budget);
  for (const std::uint64_t source : {1U, 2U, 3U}) {
    TrafficKey key;
    key.source = source;
    static_cast<void>(
        table.intern(key, {source_text({.workload = std::to_string(source)}), service_text({}), destination_text({})}));
  }
  const TrafficTable* workers[] = {&table};
  const std::string text = to_text(traffic_families(workers, budget));
  CHECK(has_line(text, "culvert_traffic_label_sets 1"));
  CHECK(has_line(text, "culvert_traffic_label_sets_max 1"));
  CHECK(has_line(text, "culvert_traffic_folded_total 2"));
}

TEST_CASE("the capture programs' counters carry pod, namespace and decision, and zeros are left out") {
  const PodCounters pods[] = {
      {.pod = "cni-1",
       .name = "cart",
       .namespace_name = "shop",
       .counters = {{"steered", "h", 12}, {"drop_no_agent", "h", 0}}},
      {.pod = "cni-2", .name = "", .namespace_name = "", .counters = {{"drop_no_agent", "h", 3}}}};
  const std::string text = to_text(pod_families(pods));
  INFO(text);
  CHECK(has_line(text, "culvert_pods 2"));
  CHECK(has_line(text, R"(culvert_capture_total{pod="cart",namespace="shop",decision="steered"} 12)"));
  CHECK(has_line(text, R"(culvert_capture_total{pod="cni-2",namespace="",decision="drop_no_agent"} 3)"));
  CHECK(text.find(R"(pod="cart",namespace="shop",decision="drop_no_agent")") == std::string::npos);
}

TEST_CASE("a label's quotes, backslashes and line breaks cannot break the format") {
  const PodCounters pods[] = {
      {.pod = "x", .name = "a\"b\\c\nd", .namespace_name = "", .counters = {{"steered", "h", 1}}}};
  CHECK(to_text(pod_families(pods)).find(R"(pod="a\"b\\c\nd")") != std::string::npos);
}

TEST_CASE("build and process tell of this program") {
  const std::string build = to_text(build_families("1.2.3"));
  CHECK(has_line(build, R"(istio_build{component="ztunnel",tag="1.2.3"} 1)"));
  CHECK(build.find(R"(culvert_build{version="1.2.3",compiler=")") != std::string::npos);

  double resident = 0;
  double descriptors = 0;
  double start = 0;
  for (const auto& family : process_families()) {
    REQUIRE(family.metric.size() == 1);
    if (family.name == "process_resident_memory_bytes") resident = family.metric[0].gauge.value;
    if (family.name == "process_open_fds") descriptors = family.metric[0].gauge.value;
    if (family.name == "process_start_time_seconds") start = family.metric[0].gauge.value;
  }
  CHECK(resident > 1e6);
  CHECK(descriptors >= 3);
  CHECK(start > 1.6e9);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  for (const auto& family : process_families()) {
    if (family.name == "process_start_time_seconds") CHECK(family.metric[0].gauge.value == start);
  }
}

TEST_CASE("one scrape has every part once, with what the caller adds") {
  const auto worker = std::make_unique<WorkerCounters>();
  const WorkerCounters* workers[] = {worker.get()};
  const auto families = collect(workers, {}, "1.2.3", [](Families& all) {
    all.push_back(gauge_family("culvert_certificates", "certificates"));
    add(all.back(), {}, 4);
  });
  std::set<std::string> names;
  for (const auto& family : families) {
    INFO(family.name);
    CHECK(names.insert(family.name).second);
    CHECK_FALSE(family.help.empty());
    // OpenMetrics names such a family without the ending: without one it would have no name.
    CHECK((family.type == prometheus::MetricType::Counter) == family.name.ends_with("_total"));
  }
  CHECK(names.contains("culvert_certificates"));
  CHECK(names.contains("istio_build"));
  CHECK(names.contains("process_open_fds"));
}

}  // namespace culvert::telemetry
