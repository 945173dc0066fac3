// SPDX-License-Identifier: Apache-2.0
#include "app/worker_set.hpp"

#include <iterator>

namespace culvert::app {

Result<std::unique_ptr<WorkerSet>> WorkerSet::start(unsigned count, const proxy::Options& options,
                                                    datapath::SocketMarker marker, telemetry::Log& log,
                                                    ControlQueue& queue) {
  std::unique_ptr<WorkerSet> set(new WorkerSet(queue));
  for (unsigned index = 0; index < count; ++index) {
    set->workers_.push_back(CV_TRY(proxy::Worker::start(index, options, marker, log)));
  }
  return set;
}

std::vector<const telemetry::WorkerCounters*> WorkerSet::counters() const {
  std::vector<const telemetry::WorkerCounters*> all;
  for (const auto& worker : workers_) all.push_back(&worker->counters());
  return all;
}

void WorkerSet::list_connections(std::function<void(std::vector<telemetry::ConnectionLog>)> reply) {
  // Each worker fills a place of its own; `post_and_gather` reads them when all have said they are done.
  auto rows = std::make_shared<std::vector<std::vector<telemetry::ConnectionLog>>>(workers_.size());
  post_and_gather(
      [rows](std::size_t i, std::function<void()> done) -> proxy::ToWorker {
        return proxy::ListConnections{[rows, i, done](std::vector<telemetry::ConnectionLog> mine) {
          (*rows)[i] = std::move(mine);
          done();
        }};
      },
      [rows, reply = std::move(reply)] {
        std::vector<telemetry::ConnectionLog> all;
        for (auto& part : *rows) std::move(part.begin(), part.end(), std::back_inserter(all));
        reply(std::move(all));
      });
}

}  // namespace culvert::app
