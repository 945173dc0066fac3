// SPDX-License-Identifier: Apache-2.0
// AbsentNames: what the control plane was asked for by name and has said to be nobody's. Part of a snapshot: copies share what did not change, and
// asking is constant time without allocation. Pods choose the addresses among them, so their number has a bound (control::DemandTable).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "state/shared_array.hpp"
#include "state/shared_index.hpp"

namespace culvert::state {

class AbsentNames {
 public:
  static constexpr std::uint32_t kNone = SharedIndex::kNone;

  // Its number, or kNone.
  [[nodiscard]] std::uint32_t find(std::string_view name) const {
    return index_.find(hash_of(name), [&](std::uint32_t number) { return *names_[number] == name; });
  }
  [[nodiscard]] std::size_t size() const noexcept { return index_.size(); }
  // `name` is new, and `number` free.
  void insert(std::string_view name, std::uint32_t number) {
    names_.grow_to(number + std::size_t{1});
    names_.edit(number) = std::make_shared<const std::string>(name);
    index_.insert(hash_of(name), number);
  }
  // It is there, with this number.
  void erase(std::string_view name, std::uint32_t number) {
    index_.erase(hash_of(name), number);
    names_.edit(number) = nullptr;
  }

 private:
  SharedArray<std::shared_ptr<const std::string>> names_;  // null: the number is free
  SharedIndex index_;
};

}  // namespace culvert::state
