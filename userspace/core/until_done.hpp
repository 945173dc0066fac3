// SPDX-License-Identifier: Apache-2.0
// UntilDone: something that must happen in the end and cannot always happen at once. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "core/reactor.hpp"

namespace culvert {

class UntilDone {
 public:
  // `attempt` says whether it is done. `reactor` outlives this.
  UntilDone(Reactor& reactor, std::uint64_t pause_ms, std::function<bool()> attempt)
      : reactor_(reactor), pause_ms_(pause_ms), attempt_(std::move(attempt)) {}
  ~UntilDone() { reactor_.cancel(timer_); }
  UntilDone(const UntilDone&) = delete;
  UntilDone& operator=(const UntilDone&) = delete;

  // Attempts it now, and again after each pause until it is done. Under way already: now, and no more often after that.
  void run() {
    reactor_.cancel(timer_);
    timer_ = attempt_() ? 0 : reactor_.after_ms(pause_ms_, [this] { run(); });
  }

 private:
  Reactor& reactor_;
  std::uint64_t pause_ms_;
  std::function<bool()> attempt_;
  Reactor::TimerId timer_ = 0;  // 0: none
};

}  // namespace culvert
