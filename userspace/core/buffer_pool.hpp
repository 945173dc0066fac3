// SPDX-License-Identifier: Apache-2.0
// BufferPool: memory that a connection holds only while bytes are in flight. One per worker, one thread. Sizes are powers
// of two from 4 KiB to 512 KiB, header included; `bytes_max` bounds what one worker lends. At the limit the caller stops
// reading until something came back (the kernel's socket buffers and TCP then push back to the sender). A few blocks are
// kept for the next borrower, the rest goes back to the system at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "core/page_regions.hpp"

namespace culvert {

class BufferPool;

// A lent buffer with a filled part [begin, end). Empty by default; returns itself to the pool.
class Lent {
 public:
  Lent() noexcept = default;
  Lent(Lent&& other) noexcept;
  Lent& operator=(Lent&& other) noexcept;
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent() { reset(); }

  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] ByteView filled() const noexcept;
  // Drops bytes from the front; gives the memory back when none are left.
  void consume(std::size_t count) noexcept;
  void reset() noexcept;

 private:
  friend class BufferPool;
  struct Block;
  Block* block_ = nullptr;  // one pointer, so that an idle connection pays eight bytes
};

class BufferPool {
 public:
  static constexpr std::size_t kBlockBytesMin = 4096;
  static constexpr std::size_t kClasses = 8;  // 4 KiB << 0 .. 4 KiB << 7
  static constexpr std::size_t kBlockBytesMax = kBlockBytesMin << (kClasses - 1);
  static constexpr std::size_t kCachedBytesMax = std::size_t{1} << 20U;

  // Every Lent goes back before the pool ends.
  explicit BufferPool(std::size_t bytes_max);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Appends `data` to `lent`, moving to a larger block where needed. The data has already been read from a socket, so this
  // never refuses (beyond 512 KiB it makes a block of that size); `is_exhausted` is what callers ask *before* they read.
  // `data` is not part of `lent`.
  void append(Lent& lent, ByteView data);
  // True while at least `bytes_max` is out: read no more on behalf of connections that cannot write.
  [[nodiscard]] bool is_exhausted() const noexcept { return lent_bytes_ >= bytes_max_; }
  // Twice that is out, and `allowance` more: what still comes unasked for such a connection is not kept.
  [[nodiscard]] bool is_overdrawn(std::size_t allowance) const noexcept {
    return lent_bytes_ >= 2 * bytes_max_ + allowance;
  }
  [[nodiscard]] std::size_t lent_bytes() const noexcept { return lent_bytes_; }
  [[nodiscard]] std::size_t cached_bytes() const noexcept { return cached_bytes_; }
  // Frees the cached blocks, for an idle agent.
  void trim() noexcept;

 private:
  friend class Lent;
  [[nodiscard]] Lent::Block* lend(std::size_t payload_bytes);
  void take_back(Lent::Block* block) noexcept;
  void give_back(Lent::Block* block) noexcept;

  PageRegions small_;
  std::size_t bytes_max_;
  std::size_t lent_bytes_ = 0;
  std::size_t cached_bytes_ = 0;
  std::array<Lent::Block*, kClasses> free_{};  // singly linked, newest first
};

}  // namespace culvert
