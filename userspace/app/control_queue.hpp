// SPDX-License-Identifier: Apache-2.0
// ControlQueue: how a worker's answer gets back onto the control thread. Callbacks posted from any thread run there, in order.
#pragma once

#include <functional>
#include <memory>

#include "core/mailbox.hpp"
#include "core/reactor.hpp"

namespace culvert::app {

class ControlQueue {
 public:
  // `reactor` outlives the queue.
  [[nodiscard]] static Result<std::unique_ptr<ControlQueue>> open(Reactor& reactor) {
    std::unique_ptr<ControlQueue> queue(new ControlQueue(reactor));
    if (auto opened = queue->mailbox_.open(); !opened) return std::unexpected(std::move(opened).error());
    if (auto watched =
            reactor.watch(queue->mailbox_.fd(), EPOLLIN, [raw = queue.get()](std::uint32_t) { raw->drain(); });
        !watched) {
      return std::unexpected(std::move(watched).error());
    }
    return queue;
  }
  ~ControlQueue() { reactor_.unwatch(mailbox_.fd()); }
  ControlQueue(const ControlQueue&) = delete;
  ControlQueue& operator=(const ControlQueue&) = delete;

  // Any thread. Never lost: for those who have few under way and wait for what comes of them.
  void post(std::function<void()> task) { mailbox_.post_always(std::move(task)); }
  // Any thread. What pods and peers cause: false, and lost, once kCapacity tasks wait.
  [[nodiscard]] bool post_if_room(std::function<void()> task) { return mailbox_.post(std::move(task)); }
  static constexpr std::size_t kCapacity = 65'536;

 private:
  explicit ControlQueue(Reactor& reactor) : reactor_(reactor), mailbox_(kCapacity) {}
  void drain() {
    mailbox_.drain([](std::function<void()> task) { task(); });
  }

  Reactor& reactor_;
  Mailbox<std::function<void()>> mailbox_;
};

}  // namespace culvert::app
