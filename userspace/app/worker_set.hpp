// SPDX-License-Identifier: Apache-2.0
// WorkerSet: the agent's workers as the control thread sees them: messages to all, answers of all gathered. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "app/control_queue.hpp"
#include "proxy/worker.hpp"
#include "telemetry/traffic_rows.hpp"

namespace culvert::app {

class WorkerSet {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WorkerSet>> start(unsigned count, const proxy::Options& options,
                                                                datapath::SocketMarker marker, datapath::SynGate gate,
                                                                telemetry::Log& log, telemetry::LabelBudget& budget,
                                                                ControlQueue& queue);

  [[nodiscard]] std::size_t size() const noexcept { return workers_.size(); }
  [[nodiscard]] std::vector<const telemetry::WorkerCounters*> counters() const;
  [[nodiscard]] std::vector<const telemetry::TrafficTable*> traffic() const;
  [[nodiscard]] std::vector<telemetry::TrafficRow> traffic_rows() { return traffic_history_.rows(traffic()); }
  // Label sets that no connection has had for so long go. What the workers let go at the last call is free again.
  void sweep_traffic(std::uint64_t expiry_ms);

  // `make` builds the message of each worker. False: a mailbox is full; after kRetryMs it may have room.
  static constexpr std::uint64_t kRetryMs = 50;
  template <typename Make>
  bool post_each(Make&& make) {
    bool is_posted = true;
    for (std::size_t i = 0; i < workers_.size(); ++i) is_posted = workers_[i]->post(make(i)) && is_posted;
    return is_posted;
  }
  [[nodiscard]] bool post_to(std::size_t worker, proxy::ToWorker message) {
    return workers_[worker]->post(std::move(message));
  }
  // `make(i, done)` builds messages whose `done` is called once by each worker; `all_done` then runs on the control thread.
  template <typename Make>
  void post_and_gather(Make&& make, std::function<void()> all_done) {
    auto left = std::make_shared<std::size_t>(workers_.size());
    auto gathered = std::make_shared<std::function<void()>>(std::move(all_done));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      // Counted on the control thread, so that neither counter nor callback needs a lock.
      std::function<void()> done = [this, left, gathered] {
        queue_.post([left, gathered] {
          if (--*left == 0) (*gathered)();
        });
      };
      if (!workers_[i]->post(make(i, done))) done();
    }
  }
  void list_connections(std::function<void(std::vector<telemetry::ConnectionLog>)> reply);

 private:
  explicit WorkerSet(ControlQueue& queue) : queue_(queue) {}

  ControlQueue& queue_;
  std::vector<std::unique_ptr<proxy::Worker>> workers_;
  telemetry::TrafficHistory traffic_history_;
};

}  // namespace culvert::app
