// SPDX-License-Identifier: Apache-2.0
// Rare<T>: an optional value that is seldom there, and takes a pointer's space while it is not. Copies are deep.
#pragma once

#include <memory>
#include <optional>
#include <utility>

namespace culvert::state {

template <typename T>
class Rare {
 public:
  Rare() = default;
  Rare(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Rare(std::optional<T> value) : value_(value ? std::make_unique<T>(*std::move(value)) : nullptr) {}
  Rare(const Rare& other) : value_(other.value_ == nullptr ? nullptr : std::make_unique<T>(*other.value_)) {}
  Rare(Rare&&) noexcept = default;
  Rare& operator=(const Rare& other) { return *this = Rare(other); }
  Rare& operator=(Rare&&) noexcept = default;
  ~Rare() = default;

  [[nodiscard]] bool has_value() const noexcept { return value_ != nullptr; }
  explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] const T& operator*() const noexcept { return *value_; }
  [[nodiscard]] T& operator*() noexcept { return *value_; }
  const T* operator->() const noexcept { return value_.get(); }
  T* operator->() noexcept { return value_.get(); }
  bool operator==(const Rare& other) const {
    return has_value() && other.has_value() ? *value_ == *other.value_ : has_value() == other.has_value();
  }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace culvert::state
