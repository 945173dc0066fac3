// SPDX-License-Identifier: Apache-2.0
// The header block that is arriving: fields that the tunnel uses are kept, everything else is counted and dropped. One per connection, since
// RFC 9113 lets no other frame in between. The bound is the header list size that was announced.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "hbone/messages.hpp"

namespace culvert::hbone {

class HeaderFields {
 public:
  explicit HeaderFields(std::size_t list_bytes_max) noexcept : list_bytes_max_(list_bytes_max) {}

  void clear() noexcept;
  // False: so much more than was announced that decoding should end.
  [[nodiscard]] bool add(std::string_view name, std::string_view value);

  // CONNECT with :authority and no other pseudo-field, RFC 9113 section 8.5. Not: answer 400.
  [[nodiscard]] bool is_connect() const noexcept;
  // Valid until the next `clear` or `add`.
  [[nodiscard]] ConnectRequest request() const noexcept;
  // 0: no valid :status.
  [[nodiscard]] std::uint16_t status() const noexcept;
  [[nodiscard]] std::string_view baggage() const noexcept { return kept_[kBaggage]; }

 private:
  enum Field : std::uint8_t {
    kAuthority,
    kBaggage,
    kForwarded,
    kTraceparent,
    kForwardedNetwork,
    kStatus,
    kFieldCount,
    kOther
  };
  [[nodiscard]] static Field field_of(std::string_view name) noexcept;
  void add_pseudo(std::string_view name, std::string_view value);

  std::size_t list_bytes_max_;
  std::size_t list_bytes_ = 0;
  std::size_t count_ = 0;
  bool is_malformed_ = false;
  bool has_regular_ = false;
  bool has_method_ = false;
  std::array<bool, kFieldCount> has_{};
  std::array<std::string, kFieldCount> kept_;
};

}  // namespace culvert::hbone
