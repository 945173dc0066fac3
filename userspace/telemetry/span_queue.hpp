// SPDX-License-Identifier: Apache-2.0
// SpanQueue: spans on their way from the workers to whoever exports them. Bounded; a span that finds it full is lost and counted. The way in is free
// of locks (one compare-and-swap), so that no worker ever waits for another one or for the exporter.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "telemetry/span.hpp"

namespace culvert::telemetry {

class SpanQueue {
 public:
  // At most `spans_max` wait; `fd` becomes readable when so many as `batch` do. Both at least 1.
  [[nodiscard]] static Result<std::unique_ptr<SpanQueue>> create(std::size_t spans_max, std::size_t batch);
  ~SpanQueue();
  SpanQueue(const SpanQueue&) = delete;
  SpanQueue& operator=(const SpanQueue&) = delete;

  // Any thread, never waits.
  void push(Span span) noexcept;

  // The exporter's thread: the oldest `spans_max` at most, in the order of their coming.
  [[nodiscard]] std::vector<Span> take(std::size_t spans_max);
  // Reads `fd` empty.
  void acknowledge() noexcept;
  [[nodiscard]] int fd() const noexcept { return wake_.get(); }

  // Any thread.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Node;

  SpanQueue(std::size_t spans_max, std::size_t batch, UniqueFd wake);
  void gather() noexcept;

  std::size_t spans_max_;
  std::size_t batch_;
  UniqueFd wake_;
  std::atomic<Node*> newest_{nullptr};
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> dropped_{0};
  // The exporter's: taken from `newest_` and turned round.
  Node* oldest_ = nullptr;
  Node* last_ = nullptr;
};

}  // namespace culvert::telemetry
