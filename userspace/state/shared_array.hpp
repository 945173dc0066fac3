// SPDX-License-Identifier: Apache-2.0
// SharedArray<T>: an array that copies share. A copy costs a pointer for each 4096 elements; a change after it copies one page of 64 elements and
// the table above it, and no reader of the other copy notices. One thread changes; any thread reads its own copy, and may let it go.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace culvert::state {

template <typename T>
class SharedArray {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept {
    return tables_[i / kTableItems]->pages[i / kPageItems % kPages]->items[i % kPageItems];
  }
  // To be written now, before the next copy is made.
  [[nodiscard]] T& edit(std::size_t i) {
    Table& table = own(tables_[i / kTableItems]);
    return own(table.pages[i / kPageItems % kPages]).items[i % kPageItems];
  }
  // New elements are T().
  void grow_to(std::size_t size) {
    while (size_ < size) {
      if (size_ % kTableItems == 0) tables_.push_back(std::make_shared<Table>());
      Table& table = own(tables_.back());
      if (size_ % kPageItems == 0) table.pages[size_ / kPageItems % kPages] = std::make_shared<Page>();
      const std::size_t page_end = (size_ / kPageItems + 1) * kPageItems;
      size_ = size < page_end ? size : page_end;
    }
  }

 private:
  static constexpr std::size_t kPageItems = 64;
  static constexpr std::size_t kPages = 64;
  static constexpr std::size_t kTableItems = kPageItems * kPages;
  struct Page {
    std::array<T, kPageItems> items{};
  };
  struct Table {
    std::array<std::shared_ptr<Page>, kPages> pages;
  };
  // Only this thread makes copies: who counts one owner stays the only one. The fence is for what other owners read before they let go.
  template <typename Node>
  static Node& own(std::shared_ptr<Node>& node) {
    if (node.use_count() == 1) {
      std::atomic_thread_fence(std::memory_order_acquire);
    } else {
      node = std::make_shared<Node>(*node);
    }
    return *node;
  }

  std::vector<std::shared_ptr<Table>> tables_;
  std::size_t size_ = 0;
};

}  // namespace culvert::state
