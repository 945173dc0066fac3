// SPDX-License-Identifier: Apache-2.0
// Whatever a callback does to watches and timers, its own included, this loop must stay whole: it holds a callback that runs
// by a reference of its own, and looks up every event and timer by id just before it is served.
#include "core/reactor.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <vector>

#include "base/clock.hpp"

namespace culvert {

Result<std::unique_ptr<Reactor>> Reactor::create() {
  return std::unique_ptr<Reactor>(new Reactor(CV_TRY(Poller::create())));
}

Result<void> Reactor::watch(int fd, std::uint32_t events, FdCallback callback) {
  const std::uint64_t token = next_id_++;
  if (const int error = poller_.add(fd, events, token); error != 0) {
    return fail_errno(error, "cannot watch descriptor {}", fd);
  }
  // A descriptor that was closed while watched is gone from epoll, but not from here.
  if (const auto stale = tokens_.find(fd); stale != tokens_.end()) watches_.erase(stale->second);
  tokens_[fd] = token;
  watches_.emplace(token, std::make_shared<Watch>(Watch{fd, std::move(callback)}));
  return {};
}

Result<void> Reactor::modify(int fd, std::uint32_t events) {
  const auto token = tokens_.find(fd);
  if (token == tokens_.end()) return fail(ErrorCode::NotFound, "descriptor {} is not watched", fd);
  if (const int error = poller_.modify(fd, events, token->second); error != 0) {
    return fail_errno(error, "cannot change what descriptor {} is watched for", fd);
  }
  return {};
}

void Reactor::unwatch(int fd) noexcept {
  const auto token = tokens_.find(fd);
  if (token == tokens_.end()) return;
  poller_.remove(fd);
  // Taken out first: destroying a callback may come back here.
  const auto watch = watches_.extract(token->second);
  tokens_.erase(token);
}

Reactor::TimerId Reactor::after_ms(std::uint64_t delay_ms, TimerCallback callback) {
  const TimerId id = next_id_++;
  const std::uint64_t deadline_ms = monotonic_ms() + delay_ms;
  timers_.emplace(std::pair{deadline_ms, id}, std::move(callback));
  deadlines_.emplace(id, deadline_ms);
  return id;
}

void Reactor::cancel(TimerId id) noexcept {
  const auto deadline = deadlines_.find(id);
  if (deadline == deadlines_.end()) return;
  const auto timer = timers_.extract({deadline->second, id});
  deadlines_.erase(deadline);
}

void Reactor::run() {
  while (!is_stopped_) turn(-1);
  is_stopped_ = false;
}

void Reactor::turn(int timeout_ms) {
  std::array<epoll_event, 64> space;
  for (const epoll_event& event : poller_.wait(space, wait_ms(timeout_ms))) {
    const auto found = watches_.find(event.data.u64);
    if (found == watches_.end()) continue;  // removed by an earlier callback of this turn
    const std::shared_ptr<Watch> watch = found->second;
    watch->callback(event.events);
  }
  run_due_timers();
}

int Reactor::wait_ms(int timeout_ms) const {
  if (timers_.empty()) return timeout_ms;
  const std::uint64_t deadline_ms = timers_.begin()->first.first;
  const std::uint64_t now_ms = monotonic_ms();
  const std::uint64_t until_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
  const int timer_ms = static_cast<int>(std::min<std::uint64_t>(until_ms, INT_MAX));
  return timeout_ms < 0 ? timer_ms : std::min(timeout_ms, timer_ms);
}

void Reactor::run_due_timers() {
  const std::uint64_t now_ms = monotonic_ms();
  std::vector<std::pair<std::uint64_t, TimerId>> due;
  for (auto timer = timers_.begin(); timer != timers_.end() && timer->first.first <= now_ms; ++timer) {
    due.push_back(timer->first);
  }
  for (const auto& key : due) {
    auto timer = timers_.extract(key);
    if (timer.empty()) continue;  // cancelled by an earlier callback of this turn
    deadlines_.erase(key.second);
    timer.mapped()();
  }
}

}  // namespace culvert
