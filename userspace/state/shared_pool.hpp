// SPDX-License-Identifier: Apache-2.0
// SharedPool<T>: equal values once, for as long as somebody uses them. Control thread; what it gives out is immutable and may be read, and let
// go, on any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

namespace culvert::state {

// `Hash` takes what a T is looked for by, T included; equal values hash equally, and are compared by ==.
template <typename T, typename Hash = std::hash<T>>
class SharedPool {
 public:
  // The one that equals `key`; where there is none, `make()` gives it. Each call is to be followed by one of `give`.
  template <typename Key, typename Make>
  [[nodiscard]] std::shared_ptr<const T> take(const Key& key, Make&& make) {
    auto found = held_.find(key);
    if (found == held_.end()) {
      std::shared_ptr<const T> made = std::forward<Make>(make)();
      const T* address = made.get();
      found = held_.emplace(address, Held{std::move(made), 0}).first;
    }
    ++found->second.users;
    return found->second.value;
  }
  // `value`: what `take` gave.
  void give(const T& value) {
    const auto found = held_.find(&value);
    if (--found->second.users == 0) held_.erase(found);
  }
  [[nodiscard]] std::size_t size() const noexcept { return held_.size(); }

 private:
  struct Held {
    std::shared_ptr<const T> value;
    std::size_t users;
  };
  struct OfValue {
    using is_transparent = void;
    template <typename Key>
    std::size_t operator()(const Key& key) const {
      return Hash{}(key);
    }
    std::size_t operator()(const T* value) const { return Hash{}(*value); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const T* a, const T* b) const { return a == b || *a == *b; }
    template <typename Key>
    bool operator()(const Key& a, const T* b) const {
      return *b == a;
    }
    template <typename Key>
    bool operator()(const T* a, const Key& b) const {
      return *a == b;
    }
  };

  std::unordered_map<const T*, Held, OfValue, Equal> held_;
};

}  // namespace culvert::state
