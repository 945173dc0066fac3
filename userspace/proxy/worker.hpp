// SPDX-License-Identifier: Apache-2.0
// Worker: one thread with its epoll loop and everything in WorkerState. The control thread talks to it by `post` only.
#pragma once

#include <memory>
#include <thread>

#include "core/mailbox.hpp"
#include "datapath/datapath.hpp"
#include "proxy/messages.hpp"
#include "proxy/options.hpp"
#include "telemetry/counters.hpp"
#include "telemetry/log.hpp"
#include "telemetry/traffic_table.hpp"

namespace culvert::proxy {

class Worker {
 public:
  // Starts the thread. `log`, `budget` and the maps behind `marker` and `gate` outlive the worker.
  [[nodiscard]] static Result<std::unique_ptr<Worker>> start(unsigned index, const Options& options,
                                                             datapath::SocketMarker marker, datapath::SynGate gate,
                                                             telemetry::Log& log, telemetry::LabelBudget& budget);
  ~Worker();  // stops the thread; live connections are cut
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // False when the mailbox is full (kMailboxMax): the worker is stuck.
  [[nodiscard]] bool post(ToWorker message) {
    // There is one for each pod that has come, nobody asks a second time, and its slot is given to another: it finds room.
    if (!std::holds_alternative<RemovePod>(message)) return mailbox_.post(std::move(message));
    mailbox_.post_always(std::move(message));
    return true;
  }
  [[nodiscard]] const telemetry::WorkerCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] telemetry::TrafficTable& traffic() noexcept { return traffic_; }
  static constexpr std::size_t kMailboxMax = 65'536;

 private:
  class Loop;
  explicit Worker(telemetry::LabelBudget& budget);

  Mailbox<ToWorker> mailbox_;
  telemetry::WorkerCounters counters_;
  telemetry::TrafficTable traffic_;
  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace culvert::proxy
