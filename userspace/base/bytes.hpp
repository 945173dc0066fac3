// SPDX-License-Identifier: Apache-2.0
// Byte spans, and a reader and writer of big-endian wire data that cannot run past the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace culvert {

using ByteView = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

[[nodiscard]] inline ByteView as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(ByteView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads big-endian fields. After the first read past the end `ok()` is false and every read gives zero or nothing.
class ByteReader {
 public:
  explicit ByteReader(ByteView data) noexcept : data_(data) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return data_.size(); }
  [[nodiscard]] ByteView take(std::size_t count) noexcept {
    if (!ok_ || count > data_.size()) {
      ok_ = false;
      return {};
    }
    const ByteView taken = data_.first(count);
    data_ = data_.subspan(count);
    return taken;
  }
  [[nodiscard]] std::uint8_t u8() noexcept { return static_cast<std::uint8_t>(number(1)); }
  [[nodiscard]] std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(number(2)); }
  [[nodiscard]] std::uint32_t u32() noexcept { return static_cast<std::uint32_t>(number(4)); }
  [[nodiscard]] std::uint64_t u64() noexcept { return number(8); }

 private:
  [[nodiscard]] std::uint64_t number(std::size_t count) noexcept {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : take(count)) value = value << 8U | byte;
    return value;
  }

  ByteView data_;
  bool ok_ = true;
};

// Writes big-endian fields into a fixed buffer. After the first write past the end `ok()` is false and nothing is written.
class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes buffer) noexcept : buffer_(buffer) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t size() const noexcept { return used_; }
  [[nodiscard]] ByteView written() const noexcept { return buffer_.first(used_); }
  void bytes(ByteView data) noexcept {
    if (!ok_ || data.size() > buffer_.size() - used_) {
      ok_ = false;
      return;
    }
    if (!data.empty()) std::memcpy(buffer_.data() + used_, data.data(), data.size());
    used_ += data.size();
  }
  void u8(std::uint8_t value) noexcept { number(value, 1); }
  void u16(std::uint16_t value) noexcept { number(value, 2); }
  void u32(std::uint32_t value) noexcept { number(value, 4); }
  void u64(std::uint64_t value) noexcept { number(value, 8); }

 private:
  void number(std::uint64_t value, std::size_t count) noexcept {
    std::uint8_t raw[8];
    for (std::size_t i = 0; i < count; ++i) raw[i] = static_cast<std::uint8_t>(value >> (8U * (count - 1U - i)));
    bytes({raw, count});
  }

  MutableBytes buffer_;
  std::size_t used_ = 0;
  bool ok_ = true;
};

}  // namespace culvert
