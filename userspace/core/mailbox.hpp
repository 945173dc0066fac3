// SPDX-License-Identifier: Apache-2.0
// Mailbox<T>: messages between the control thread and a worker. Bounded; an eventfd wakes the owner. It has a mutex,
// which is why it is for control messages and never for bytes of a connection.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert {

template <typename T>
class Mailbox {
 public:
  // `capacity` messages wait at most; `post` answers false beyond that and the sender decides what to do.
  explicit Mailbox(std::size_t capacity) : capacity_(capacity) {}

  // Makes the eventfd; once, before the threads start.
  [[nodiscard]] Result<void> open() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return fail_errno(errno, "cannot make an eventfd");
    wake_ = std::move(fd);
    return {};
  }
  // Any thread.
  [[nodiscard]] bool post(T message) {
    {
      const std::scoped_lock lock(mutex_);
      if (messages_.size() >= capacity_) return false;
      messages_.push_back(std::move(message));
    }
    wake();
    return true;
  }
  // Any thread. However many wait: for senders that are bounded by themselves.
  void post_always(T message) {
    {
      const std::scoped_lock lock(mutex_);
      messages_.push_back(std::move(message));
    }
    wake();
  }
  // The owner's thread: takes every waiting message, in order.
  template <typename Handle>
  void drain(Handle&& handle) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof(count));
    std::vector<T> taken;
    {
      const std::scoped_lock lock(mutex_);
      taken.swap(messages_);
    }
    for (T& message : taken) handle(std::move(message));
  }
  [[nodiscard]] int fd() const noexcept { return wake_.get(); }

 private:
  void wake() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof(one));
  }

  std::mutex mutex_;
  std::vector<T> messages_;
  std::size_t capacity_;
  UniqueFd wake_;
};

}  // namespace culvert
