// SPDX-License-Identifier: Apache-2.0
#include "app/worker_set.hpp"

#include <iterator>

namespace culvert::app {

Result<std::unique_ptr<WorkerSet>> WorkerSet::start(unsigned count, const proxy::Options& options,
                                                    datapath::SocketMarker marker, datapath::SynGate gate,
                                                    telemetry::Log& log, telemetry::LabelBudget& budget,
                                                    ControlQueue& queue) {
  std::unique_ptr<WorkerSet> set(new WorkerSet(queue));
  for (unsigned index = 0; index < count; ++index) {
    set->workers_.push_back(CV_TRY(proxy::Worker::start(index, options, marker, gate, log, budget)));
  }
  return set;
}

std::vector<const telemetry::WorkerCounters*> WorkerSet::counters() const {
  std::vector<const telemetry::WorkerCounters*> all;
  for (const auto& worker : workers_) all.push_back(&worker->counters());
  return all;
}

std::vector<const telemetry::TrafficTable*> WorkerSet::traffic() const {
  std::vector<const telemetry::TrafficTable*> all;
  for (const auto& worker : workers_) all.push_back(&worker->traffic());
  return all;
}

void WorkerSet::sweep_traffic(std::uint64_t expiry_ms) {
  std::vector<telemetry::TrafficTable*> tables;
  for (const auto& worker : workers_) tables.push_back(&worker->traffic());
  traffic_history_.reclaim(tables);
  for (const auto& worker : workers_) {
    if (worker->traffic().is_untouched()) continue;  // an idle worker sleeps on
    static_cast<void>(worker->post(proxy::SweepTraffic{expiry_ms}));
  }
}

void WorkerSet::list_connections(std::function<void(std::vector<telemetry::ConnectionLog>)> reply) {
  // Each worker fills a place of its own; `post_and_gather` reads them when all have said they are done.
  auto rows = std::make_shared<std::vector<proxy::ConnectionPages>>(workers_.size());
  post_and_gather(
      [rows](std::size_t i, std::function<void()> done) -> proxy::ToWorker {
        return proxy::ListConnections{[rows, i, done](proxy::ConnectionPages mine) {
          (*rows)[i] = std::move(mine);
          done();
        }};
      },
      [rows, reply = std::move(reply)] {
        std::vector<telemetry::ConnectionLog> all;
        for (proxy::ConnectionPages& pages : *rows) {
          for (auto& page : pages) std::move(page.begin(), page.end(), std::back_inserter(all));
        }
        reply(std::move(all));
      });
}

}  // namespace culvert::app
