// SPDX-License-Identifier: Apache-2.0
// A Provider that answers from plain fields and keeps what it was asked.
#pragma once

#include "admin/provider.hpp"
#include "dump_support.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::admin {

struct FakeProvider : Provider {
  Status status_answer;
  std::vector<Pod> pods_answer;
  std::vector<Workload> workloads_answer;
  std::vector<Service> services_answer;
  std::vector<Certificate> certificates_answer;
  std::vector<telemetry::PodCounters> drops_answer;
  std::vector<telemetry::ConnectionLog> connections_answer;
  std::vector<std::string> pending;
  Result<void> leave_answer;
  Result<Pod> join_answer = Pod{};
  bool holds_replies = false;

  std::vector<JoinRequest> joined;
  std::vector<std::string> left;
  std::vector<telemetry::Level> levels;
  telemetry::LogFilter filter;
  telemetry::LogFilter filter_default;
  int shut_downs = 0;
  mutable state::Store store;
  std::vector<Reply<std::vector<telemetry::ConnectionLog>>> held;

  Status status() const override { return status_answer; }
  std::vector<Pod> pods() const override { return pods_answer; }
  std::vector<Workload> workloads() const override { return workloads_answer; }
  std::vector<Service> services() const override { return services_answer; }
  std::vector<Certificate> certificates() const override { return certificates_answer; }
  std::vector<telemetry::PodCounters> drops() const override { return drops_answer; }
  Result<Explanation> explain(const std::string& source, const std::string& destination) const override {
    if (source.empty()) return fail(ErrorCode::NotFound, "no workload");
    return Explanation{"allowed", {{"source", "ok", source + " to " + destination, "workload w"}}};
  }
  void connections(Reply<std::vector<telemetry::ConnectionLog>> reply) override {
    if (holds_replies) {
      held.push_back(std::move(reply));
    } else {
      reply(connections_answer);
    }
  }
  void join(JoinRequest request, Reply<Pod> reply) override {
    joined.push_back(std::move(request));
    reply(join_answer);
  }
  void leave(const std::string& id, Reply<void> reply) override {
    left.push_back(id);
    reply(leave_answer);
  }
  void set_log_level(telemetry::Level level) override { levels.push_back(level); }
  telemetry::LogFilter log_filter() const override { return filter; }
  telemetry::LogFilter default_log_filter() const override { return filter_default; }
  void set_log_filter(const telemetry::LogFilter& wanted) override { filter = wanted; }
  std::unique_ptr<DumpSource> begin_dump() const override { return std::make_unique<StoreDump>(store); }
  void shut_down() override { ++shut_downs; }
  std::vector<std::string> pending_tasks() const override { return pending; }
  std::vector<telemetry::TrafficRow> traffic_answer;
  telemetry::Scrape metrics() const override { return {telemetry::build_families("1.2.3"), traffic_answer}; }
};

}  // namespace culvert::admin
