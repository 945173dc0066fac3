// SPDX-License-Identifier: Apache-2.0
// Slab<T>: objects in stable memory, named by {index, generation}. A handle of a freed object finds nothing, also after
// its place was used again. One thread. T is default-constructed in chunks on first use and destroyed at `free`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/assert.hpp"

namespace culvert {

struct SlabHandle {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // 28 bits, so that handle and kind fit one epoll token; 0 is never handed out
  bool operator==(const SlabHandle&) const noexcept = default;
};

template <typename T>
class Slab {
 public:
  static constexpr std::size_t kChunk = 64;
  static constexpr std::uint32_t kGenerationMask = 0x0fff'ffffU;

  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() {
    for (std::uint32_t index = 0; index < limit_; ++index) {
      if (Node& node = at(index); node.is_live) node.object()->~T();
    }
  }

  template <typename... Args>
  SlabHandle emplace(Args&&... args) {
    if (free_.empty()) grow();
    const std::uint32_t index = free_.back();
    Node& node = at(index);
    new (node.storage) T(std::forward<Args>(args)...);
    free_.pop_back();
    node.is_live = true;
    ++size_;
    return {index, node.generation};
  }
  // Null when the object is gone.
  [[nodiscard]] T* find(SlabHandle handle) noexcept {
    if (handle.index >= limit_) return nullptr;
    Node& node = at(handle.index);
    return node.is_live && node.generation == handle.generation ? node.object() : nullptr;
  }
  void free(SlabHandle handle) noexcept {
    T* object = find(handle);
    CV_ASSERT(object != nullptr);
    Node& node = at(handle.index);
    object->~T();
    node.is_live = false;
    node.generation = (node.generation + 1U) & kGenerationMask;
    if (node.generation == 0) node.generation = 1;
    free_.push_back(handle.index);
    --size_;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Places are numbered from 0 to below `places()`, which only grows. Null: nothing lives there.
  [[nodiscard]] std::size_t places() const noexcept { return limit_; }
  [[nodiscard]] T* at_place(std::size_t place) noexcept {
    if (place >= limit_) return nullptr;
    Node& node = at(static_cast<std::uint32_t>(place));
    return node.is_live ? node.object() : nullptr;
  }
  // Calls `visit(handle, object)` for every live object; the visitor may free the object that it was given.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (std::uint32_t index = 0; index < limit_; ++index) {
      if (Node& node = at(index); node.is_live) visit(SlabHandle{index, node.generation}, *node.object());
    }
  }

 private:
  struct Node {
    alignas(T) unsigned char storage[sizeof(T)];
    std::uint32_t generation = 1;
    bool is_live = false;
    T* object() noexcept { return std::launder(reinterpret_cast<T*>(storage)); }
  };

  Node& at(std::uint32_t index) noexcept { return chunks_[index / kChunk][index % kChunk]; }
  void grow() {
    chunks_.push_back(std::make_unique<Node[]>(kChunk));
    free_.reserve(limit_ + kChunk);
    for (std::size_t i = kChunk; i > 0; --i) free_.push_back(static_cast<std::uint32_t>(limit_ + i - 1));
    limit_ += kChunk;
  }

  std::vector<std::unique_ptr<Node[]>> chunks_;
  std::vector<std::uint32_t> free_;
  std::size_t limit_ = 0;
  std::size_t size_ = 0;
};

}  // namespace culvert
