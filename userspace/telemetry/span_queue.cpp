// SPDX-License-Identifier: Apache-2.0
// SpanQueue; see span_queue.hpp. Producers push onto a stack; the one reader takes the whole stack at once, which leaves nothing for a node to be
// mistaken for another (no ABA), and turns it round.
#include "telemetry/span_queue.hpp"

#include <cerrno>
#include <new>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace culvert::telemetry {

struct SpanQueue::Node {
  Span span;
  Node* next = nullptr;
};

Result<std::unique_ptr<SpanQueue>> SpanQueue::create(std::size_t spans_max, std::size_t batch) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "cannot make an eventfd");
  return std::unique_ptr<SpanQueue>(new SpanQueue(spans_max, batch, std::move(wake)));
}

SpanQueue::SpanQueue(std::size_t spans_max, std::size_t batch, UniqueFd wake)
    : spans_max_(spans_max), batch_(batch), wake_(std::move(wake)) {}

SpanQueue::~SpanQueue() {
  gather();
  while (oldest_ != nullptr) delete std::exchange(oldest_, oldest_->next);
}

void SpanQueue::push(Span span) noexcept {
  const std::size_t before = size_.fetch_add(1, std::memory_order_relaxed);
  Node* node = before < spans_max_ ? new (std::nothrow) Node{std::move(span)} : nullptr;
  if (node == nullptr) {
    size_.fetch_sub(1, std::memory_order_relaxed);
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  node->next = newest_.load(std::memory_order_relaxed);
  while (!newest_.compare_exchange_weak(node->next, node, std::memory_order_release, std::memory_order_relaxed)) {}
  if (before + 1 != batch_) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof(one));
}

void SpanQueue::gather() noexcept {
  Node* newest = newest_.exchange(nullptr, std::memory_order_acquire);
  if (newest == nullptr) return;
  Node* turned = nullptr;
  Node* last = newest;
  while (newest != nullptr) {
    Node* next = std::exchange(newest->next, turned);
    turned = std::exchange(newest, next);
  }
  (oldest_ == nullptr ? oldest_ : last_->next) = turned;
  last_ = last;
}

std::vector<Span> SpanQueue::take(std::size_t spans_max) {
  gather();
  std::vector<Span> spans;
  while (oldest_ != nullptr && spans.size() < spans_max) {
    const std::unique_ptr<Node> node(std::exchange(oldest_, oldest_->next));
    spans.push_back(std::move(node->span));
  }
  size_.fetch_sub(spans.size(), std::memory_order_relaxed);
  return spans;
}

void SpanQueue::acknowledge() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof(count));
}

}  // namespace culvert::telemetry
