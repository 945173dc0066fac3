// SPDX-License-Identifier: Apache-2.0
// LogRing; see log_ring.hpp. An entry is an 8-byte header and the line, rounded up to 8. An entry never wraps: when the end
// of the ring is too near, the producer reserves the rest as a skip entry together with its own.
#include "telemetry/log_ring.hpp"

#include <bit>
#include <cstring>

#include <sys/mman.h>

namespace culvert::telemetry {
namespace {

constexpr std::uint64_t kHeaderBytes = 8;
constexpr std::uint64_t kLine = 1;  // header: length << 2 | kind
constexpr std::uint64_t kSkip = 2;

constexpr std::uint64_t round_up(std::uint64_t bytes) { return (bytes + 7) & ~std::uint64_t{7}; }

}  // namespace

Result<std::unique_ptr<LogRing>> LogRing::create(std::size_t capacity) {
  if (!std::has_single_bit(capacity) || capacity < 4'096 || capacity > (std::size_t{64} << 20U)) {
    return fail(ErrorCode::InvalidArgument, "a log queue of {} bytes: must be a power of two from 4096 to 67108864",
                capacity);
  }
  void* memory = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(errno, "cannot get {} bytes for the log queue", capacity);
  return std::unique_ptr<LogRing>(new LogRing(static_cast<std::byte*>(memory), capacity));
}

LogRing::~LogRing() { ::munmap(memory_, capacity()); }

std::atomic_ref<std::uint64_t> LogRing::header(std::uint64_t position) const noexcept {
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(memory_ + (position & mask_)));
}

std::size_t LogRing::push(std::string_view line, std::size_t limit) noexcept {
  const std::uint64_t need = kHeaderBytes + round_up(line.size());
  if (limit > capacity()) limit = capacity();
  std::uint64_t position = reserved_.load(std::memory_order_relaxed);
  std::uint64_t skip = 0;
  std::uint64_t used = 0;
  do {
    const std::uint64_t until_end = capacity() - (position & mask_);
    skip = until_end < need ? until_end : 0;
    // A stale `position` may lie behind `released_`; the exchange then fails, so only the sum must not wrap.
    const std::uint64_t released = released_.load(std::memory_order_acquire);
    used = position + skip + need - released;
    if (released <= position && used > limit) return 0;
  } while (!reserved_.compare_exchange_weak(position, position + skip + need, std::memory_order_relaxed));

  if (skip != 0) {
    header(position).store(skip << 2U | kSkip, std::memory_order_release);
    position += skip;
  }
  std::memcpy(memory_ + (position & mask_) + kHeaderBytes, line.data(), line.size());
  header(position).store(std::uint64_t{line.size()} << 2U | kLine, std::memory_order_release);
  return used;
}

std::span<std::string_view> LogRing::peek(std::span<std::string_view> lines) noexcept {
  std::uint64_t position = released_.load(std::memory_order_relaxed);
  std::size_t count = 0;
  while (count < lines.size()) {
    // Every byte may be in use: the header there then belongs to the oldest entry, which this peek holds already.
    if (position - released_.load(std::memory_order_relaxed) >= capacity()) break;
    const std::uint64_t value = header(position).load(std::memory_order_acquire);
    if (value == 0) break;
    if ((value & 3U) == kSkip) {
      position += value >> 2U;
      continue;
    }
    const std::size_t length = value >> 2U;
    lines[count++] = {reinterpret_cast<const char*>(memory_ + (position & mask_) + kHeaderBytes), length};
    position += kHeaderBytes + round_up(length);
  }
  peeked_ = position;
  return lines.first(count);
}

void LogRing::release() noexcept {
  // All of it must read as zero before producers may reserve it again: a later header can begin at any multiple of eight.
  const std::uint64_t from = released_.load(std::memory_order_relaxed);
  const std::uint64_t until_end = capacity() - (from & mask_);
  const std::uint64_t size = peeked_ - from;
  if (size <= until_end) {
    std::memset(memory_ + (from & mask_), 0, size);
  } else {
    std::memset(memory_ + (from & mask_), 0, until_end);
    std::memset(memory_, 0, size - until_end);
  }
  released_.store(peeked_, std::memory_order_release);
}

bool LogRing::has_line() noexcept {
  return header(released_.load(std::memory_order_relaxed)).load(std::memory_order_acquire) != 0;
}

}  // namespace culvert::telemetry
