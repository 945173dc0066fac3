// SPDX-License-Identifier: Apache-2.0
// LogRing: lines on their way from any thread to the log writer. A ring of bytes with a lock-free way in (one compare-and-
// swap to reserve, one store to publish) and one reader. Fixed size; a line that finds no room is refused, and the memory
// is touched only as far as lines went.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.hpp"

namespace culvert::telemetry {

class LogRing {
 public:
  // `capacity` is a power of two, 4 KiB to 64 MiB.
  [[nodiscard]] static Result<std::unique_ptr<LogRing>> create(std::size_t capacity);
  ~LogRing();
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;

  // Any thread, never waits. Refuses what would fill the ring beyond `limit` bytes. Gives the bytes in use afterwards, 0 when
  // refused.
  [[nodiscard]] std::size_t push(std::string_view line, std::size_t limit) noexcept;

  // The writer's thread: the oldest published lines, as many as fit in `lines`. They stay until `release`.
  [[nodiscard]] std::span<std::string_view> peek(std::span<std::string_view> lines) noexcept;
  // Frees all that the last `peek` gave.
  void release() noexcept;
  [[nodiscard]] bool has_line() noexcept;
  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

 private:
  LogRing(std::byte* memory, std::size_t capacity) : memory_(memory), mask_(capacity - 1) {}

  // Published last by the producer; zero means not yet. Sits before each line, 8-byte aligned.
  [[nodiscard]] std::atomic_ref<std::uint64_t> header(std::uint64_t position) const noexcept;

  std::byte* memory_;
  std::size_t mask_;
  alignas(64) std::atomic<std::uint64_t> reserved_{0};  // producers: bytes ever reserved
  alignas(64) std::atomic<std::uint64_t> released_{0};  // writer: bytes ever freed
  std::uint64_t peeked_ = 0;                            // writer: end of the last peek
};

}  // namespace culvert::telemetry
