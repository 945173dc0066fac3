// SPDX-License-Identifier: Apache-2.0
// No block comes from the heap: small ones, freed, would be holes between what outlives them, and for large ones glibc raises its own
// mmap threshold when one is freed and keeps the next on the heap. Either way memory of a burst would never go back to the system.
#include "core/buffer_pool.hpp"

#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include <sys/mman.h>

#include "base/assert.hpp"

namespace culvert {

struct Lent::Block {
  BufferPool* pool;
  Block* next;                  // while cached
  PageRegions::Region* region;  // null: mapped by itself
  std::size_t block_bytes;      // with this header; a power of two
  std::size_t begin;            // of the filled part, counted from payload()
  std::size_t end;

  [[nodiscard]] std::uint8_t* payload() noexcept { return reinterpret_cast<std::uint8_t*>(this) + sizeof(Block); }
  [[nodiscard]] std::size_t capacity() const noexcept { return block_bytes - sizeof(Block); }
  [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
};

namespace {

std::size_t class_of(std::size_t block_bytes) noexcept {
  return static_cast<std::size_t>(std::countr_zero(block_bytes / BufferPool::kBlockBytesMin));
}

}  // namespace

Lent::Lent(Lent&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}

Lent& Lent::operator=(Lent&& other) noexcept {
  if (this != &other) {
    reset();
    block_ = std::exchange(other.block_, nullptr);
  }
  return *this;
}

std::size_t Lent::size() const noexcept { return block_ == nullptr ? 0 : block_->size(); }

ByteView Lent::filled() const noexcept {
  if (block_ == nullptr) return {};
  return {block_->payload() + block_->begin, block_->size()};
}

void Lent::consume(std::size_t count) noexcept {
  CV_ASSERT(count <= size());
  if (count == 0) return;
  block_->begin += count;
  if (block_->size() == 0) reset();
}

void Lent::reset() noexcept {
  if (block_ == nullptr) return;
  Block* block = std::exchange(block_, nullptr);
  block->pool->take_back(block);
}

BufferPool::BufferPool(std::size_t bytes_max) : bytes_max_(bytes_max) {}

BufferPool::~BufferPool() {
  CV_ASSERT(lent_bytes_ == 0);
  trim();
}

void BufferPool::append(Lent& lent, ByteView data) {
  if (data.empty()) return;
  Lent::Block* block = lent.block_;
  const std::size_t filled = lent.size();
  if (block == nullptr || block->capacity() < filled + data.size()) {
    Lent::Block* larger = lend(filled + data.size());
    if (filled != 0) std::memcpy(larger->payload(), block->payload() + block->begin, filled);
    larger->end = filled;
    lent.reset();
    lent.block_ = block = larger;
  } else if (block->capacity() - block->end < data.size()) {
    std::memmove(block->payload(), block->payload() + block->begin, filled);
    block->begin = 0;
    block->end = filled;
  }
  std::memcpy(block->payload() + block->end, data.data(), data.size());
  block->end += data.size();
}

Lent::Block* BufferPool::lend(std::size_t payload_bytes) {
  std::size_t block_bytes = std::bit_ceil(payload_bytes + sizeof(Lent::Block));
  if (block_bytes < kBlockBytesMin) block_bytes = kBlockBytesMin;
  lent_bytes_ += block_bytes;
  if (block_bytes <= kBlockBytesMax) {
    Lent::Block*& newest = free_[class_of(block_bytes)];
    if (newest != nullptr) {
      Lent::Block* block = newest;
      newest = block->next;
      cached_bytes_ -= block_bytes;
      block->begin = block->end = 0;
      return block;
    }
  }
  PageRegions::Block block{nullptr, nullptr};
  if (block_bytes <= PageRegions::kBlockBytesMax) {
    block = small_.allocate(block_bytes);
  } else if (void* memory = ::mmap(nullptr, block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
             memory != MAP_FAILED) {
    block.memory = memory;
  }
  CV_ASSERT(block.memory != nullptr);  // bytes that a peer has got an ACK for cannot be dropped
  return new (block.memory) Lent::Block{this, nullptr, block.region, block_bytes, 0, 0};
}

void BufferPool::give_back(Lent::Block* block) noexcept {
  const std::size_t block_bytes = block->block_bytes;
  if (block->region != nullptr) {
    small_.free(block->region, block, block_bytes);
  } else {
    ::munmap(block, block_bytes);
  }
}

void BufferPool::take_back(Lent::Block* block) noexcept {
  const std::size_t block_bytes = block->block_bytes;
  lent_bytes_ -= block_bytes;
  if (block_bytes > kBlockBytesMax || cached_bytes_ + block_bytes > kCachedBytesMax) {
    give_back(block);
    return;
  }
  Lent::Block*& newest = free_[class_of(block_bytes)];
  block->next = newest;
  newest = block;
  cached_bytes_ += block_bytes;
}

void BufferPool::trim() noexcept {
  for (Lent::Block*& newest : free_) {
    while (newest != nullptr) {
      Lent::Block* block = newest;
      newest = block->next;
      cached_bytes_ -= block->block_bytes;
      give_back(block);
    }
  }
}

}  // namespace culvert
