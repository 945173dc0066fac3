// SPDX-License-Identifier: Apache-2.0
// SharedSlots<T>: things under numbers, which are given out again once they are free; copies share what did not change, as SharedArray's do. A number that is
// free has T(). One thread changes; any thread reads its own copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "state/flat_index.hpp"
#include "state/shared_array.hpp"

namespace culvert::state {

template <typename T>
class SharedSlots {
 public:
  [[nodiscard]] std::uint32_t put(T value) {
    std::uint32_t number = free_;
    if (number == kNone) {
      number = static_cast<std::uint32_t>(slots_.size());
      slots_.grow_to(slots_.size() + 1);
    } else {
      free_ = slots_[number].next_free;
    }
    slots_.edit(number).value = std::move(value);
    return number;
  }
  void free(std::uint32_t number) { slots_.edit(number) = {T(), std::exchange(free_, number)}; }
  [[nodiscard]] const T& operator[](std::uint32_t number) const noexcept { return slots_[number].value; }
  // To be written now, before the next copy is made.
  [[nodiscard]] T& edit(std::uint32_t number) { return slots_.edit(number).value; }
  // Above every number.
  [[nodiscard]] std::uint32_t end() const noexcept { return static_cast<std::uint32_t>(slots_.size()); }

 private:
  static constexpr std::uint32_t kNone = FlatIndex::kNone;
  struct Slot {
    T value{};
    std::uint32_t next_free = kNone;  // of one that is free
  };

  SharedArray<Slot> slots_;
  std::uint32_t free_ = kNone;  // the first
};

}  // namespace culvert::state
