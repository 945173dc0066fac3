// SPDX-License-Identifier: Apache-2.0
// Secret<N>: up to N bytes of key material. Wiped on destruction and on move-out; cannot be copied, printed or compared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/assert.hpp"
#include "base/bytes.hpp"

namespace culvert {

// Overwrites memory in a way that the compiler keeps.
inline void secure_wipe(void* data, std::size_t size) noexcept { ::explicit_bzero(data, size); }

template <std::size_t N>
class Secret {
 public:
  Secret() noexcept = default;
  explicit Secret(ByteView data) noexcept { assign(data); }
  Secret(Secret&& other) noexcept { take(other); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) take(other);
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  void assign(ByteView data) noexcept {
    CV_ASSERT(data.size() <= N);
    wipe();
    if (!data.empty()) std::memcpy(bytes_.data(), data.data(), data.size());
    size_ = static_cast<std::uint8_t>(data.size());
  }
  [[nodiscard]] ByteView view() const noexcept { return {bytes_.data(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  void wipe() noexcept {
    secure_wipe(bytes_.data(), N);
    size_ = 0;
  }

 private:
  static_assert(N <= 255);
  void take(Secret& other) noexcept {
    assign(other.view());
    other.wipe();
  }

  std::array<std::uint8_t, N> bytes_{};
  std::uint8_t size_ = 0;
};

}  // namespace culvert
