// SPDX-License-Identifier: Apache-2.0
// bench_state: what decisions over a large mesh cost, and what a change of it: one JSON object on standard output, in microseconds of CPU (so
// that what else the machine does is only felt through the caches). One thread, no sockets.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <random>
#include <vector>

#include "fast_random.hpp"
#include "policy/policy.hpp"
#include "state/route.hpp"
#include "state_shape.hpp"

namespace culvert::bench {
namespace {

using state::RouteKind;

double cpu_us() {
  timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) * 1e6 + static_cast<double>(spent.tv_nsec) / 1e3;
}

template <typename Work>
double each_us(std::uint32_t rounds, Work&& work) {
  const double start_us = cpu_us();
  for (std::uint32_t i = 0; i < rounds; ++i) work(i);
  return (cpu_us() - start_us) / rounds;
}

// Destinations in random order, so that the caches help as little as they do on a busy node.
double decision_us(const state::Snapshot& snapshot, const std::vector<Endpoint>& destinations) {
  const state::WorkloadEntry& client = snapshot.workload(0);
  const state::RouteSource source{client.addresses()[0], client.network(), client.namespace_name(), &client.identity(),
                                  &client};
  FastRandom random;
  std::size_t tunnels = 0;
  const double took_us = each_us(400'000, [&](std::uint32_t i) {
    const state::Route route = state::route(snapshot, source, destinations[i % destinations.size()], random);
    tunnels += route.kind == RouteKind::Tunnel && !route.workload->identity().service_account.empty() ? 1U : 0U;
  });
  return tunnels == 400'000 ? took_us : -1;
}

template <typename AddressOf>
std::vector<Endpoint> destinations(std::uint32_t count, AddressOf&& address_of) {
  std::vector<Endpoint> made;
  std::mt19937 shuffle(1);
  std::uniform_int_distribution<std::uint32_t> any(0, count - 1);
  for (int i = 0; i < 65'536; ++i) made.push_back({address_of(any(shuffle)), kServicePort});
  return made;
}

// One pod turns unhealthy or healthy again, and workers have the news.
double change_us(state::Store& store, std::uint32_t pods) {
  std::mt19937 random(1);
  std::shared_ptr<const state::Snapshot> snapshot = store.publish();
  std::vector<state::Workload> changes;
  for (int i = 0; i < 4'000; ++i) {
    changes.push_back(make_pod(static_cast<std::uint32_t>(random() % pods), pods));
    changes.back().is_healthy = i % 2 == 1;
  }
  return each_us(static_cast<std::uint32_t>(changes.size()), [&](std::uint32_t i) {
    store.upsert(std::move(changes[i]));
    snapshot = store.publish();
  });
}

// 1,000 policies of which 20 select the workload; the last one matches.
double policy_us() {
  state::Store store;
  state::Workload pod = make_pod(0, kPodsPerService);
  for (int i = 0; i < 1'000; ++i) {
    state::PolicyMatch from;
    const bool is_last = i == 19;
    from.principals = {{state::StringMatch::Kind::Exact, fmt::format("cluster.local/ns/team-{}/sa/client", i)},
                       {state::StringMatch::Kind::Prefix, fmt::format("cluster.local/ns/group-{}/", i)}};
    if (is_last) from.principals.push_back({state::StringMatch::Kind::Exact, "cluster.local/ns/team-0/sa/checkout-0"});
    state::PolicyMatch when;
    when.source_ips = {Cidr::parse("10.0.0.0/8").value()};
    state::PolicyMatch to;
    to.destination_ports = {80, 8080};
    state::Authorization made;
    made.name = fmt::format("policy-{}", i);
    made.namespace_name = pod.namespace_name;
    made.scope = state::PolicyScope::WorkloadSelector;
    made.action = is_last || i % 2 == 1 ? state::PolicyAction::Allow : state::PolicyAction::Deny;
    made.rules = {
        state::PolicyRule{{state::PolicyClause{{from}}, state::PolicyClause{{to}}, state::PolicyClause{{when}}}}};
    if (i < 20) pod.authorization_policies.push_back(made.key());
    store.upsert(std::move(made));
  }
  const std::string uid = pod.uid;
  store.upsert(std::move(pod));
  const auto snapshot = store.publish();
  const state::WorkloadEntry& local = *snapshot->find_uid(uid);
  const policy::RuleSet rules = policy::RuleSet::find(*snapshot, &local, local.namespace_name(), local.name());
  policy::InboundRequest request{{pod_address(1), 4'000}, {pod_address(0), 80}, &local.identity()};
  std::size_t allowed = 0;
  const double took_us = each_us(300'000, [&](std::uint32_t i) {
    request.source.port = static_cast<std::uint16_t>(i);
    allowed += policy::evaluate(rules, request).is_allowed() ? 1U : 0U;
  });
  return allowed == 300'000 ? took_us : -1;
}

int run() {
  constexpr std::uint32_t kMany = 100'000;
  constexpr std::uint32_t kFew = 1'000;
  state::Store many;
  fill(many, kMany);
  state::Store few;
  fill(few, kFew);
  const auto snapshot = many.publish();
  const double service_us = decision_us(*snapshot, destinations(kMany / kPodsPerService, service_address));
  const double pod_us = decision_us(*snapshot, destinations(kMany, pod_address));
  const double evaluate_us = policy_us();
  // By turns, the better of each: what else the machine does falls on both.
  double many_us = change_us(many, kMany);
  double few_us = change_us(few, kFew);
  for (int i = 0; i < 4; ++i) {
    many_us = std::min(many_us, change_us(many, kMany));
    few_us = std::min(few_us, change_us(few, kFew));
  }
  if (service_us < 0 || pod_us < 0 || evaluate_us < 0) {
    std::fprintf(stderr, "bench_state: a decision was not the expected one\n");
    return 1;
  }
  std::printf(
      "{\"decision_service_us\": %.4f, \"decision_pod_us\": %.4f, \"policy_us\": %.4f, \"change_many_us\": %.3f, "
      "\"change_few_us\": %.3f}\n",
      service_us, pod_us, evaluate_us, many_us, few_us);
  return 0;
}

}  // namespace
}  // namespace culvert::bench

int main() { return culvert::bench::run(); }
