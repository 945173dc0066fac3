// SPDX-License-Identifier: Apache-2.0
#include "hbone/header_fields.hpp"

#include "hbone/abuse_limits.hpp"

namespace culvert::hbone {
namespace {

constexpr std::size_t kFieldOverhead = 32;     // RFC 9113 section 6.5.2
constexpr std::size_t kKeptCapacityMax = 512;  // what an idle connection may hold on to

// RFC 9110 section 5.5: field values have no control characters but the tab. Without branches: it is run over every byte that is kept.
bool is_field_value(std::string_view value) noexcept {
  bool is_bad = false;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    is_bad = is_bad | ((byte < 0x20) & (byte != '\t')) | (byte == 0x7f);
  }
  return !is_bad;
}

}  // namespace

void HeaderFields::clear() noexcept {
  list_bytes_ = 0;
  count_ = 0;
  is_malformed_ = has_regular_ = has_method_ = false;
  has_.fill(false);
  for (std::string& value : kept_) {
    value.clear();
    if (value.capacity() > kKeptCapacityMax) value.shrink_to_fit();
  }
}

bool HeaderFields::add(std::string_view name, std::string_view value) {
  list_bytes_ += name.size() + value.size() + kFieldOverhead;
  ++count_;
  if (list_bytes_ > list_bytes_max_ || count_ > kHeaderFieldsMax) {
    is_malformed_ = true;
    return list_bytes_ <= list_bytes_max_ * kHeaderListExcess;
  }
  if (name.starts_with(':')) {
    add_pseudo(name, value);
    return true;
  }
  has_regular_ = true;
  const Field field = field_of(name);
  if (field == kOther) return true;
  if (!is_field_value(value)) is_malformed_ = true;
  // Lines of one name are one list (RFC 9110 section 5.3). Two traces are none.
  if (has_[field] && field == kTraceparent) {
    kept_[field].clear();
    return true;
  }
  if (has_[field]) kept_[field] += ',';
  has_[field] = true;
  kept_[field] += value;
  return true;
}

void HeaderFields::add_pseudo(std::string_view name, std::string_view value) {
  if (has_regular_) is_malformed_ = true;
  if (name == ":method") {
    if (has_method_ || value != "CONNECT") is_malformed_ = true;
    has_method_ = true;
    return;
  }
  const Field field = name == ":authority" ? kAuthority : name == ":status" ? kStatus : kOther;
  if (field == kOther || has_[field] || !is_field_value(value)) {
    is_malformed_ = true;
    return;
  }
  has_[field] = true;
  kept_[field] = value;
}

HeaderFields::Field HeaderFields::field_of(std::string_view name) noexcept {
  switch (name.size()) {
    case 7: return name == "baggage" ? kBaggage : kOther;
    case 9: return name == "forwarded" ? kForwarded : kOther;
    case 11: return name == "traceparent" ? kTraceparent : kOther;
    case 19: return name == "x-forwarded-network" ? kForwardedNetwork : kOther;
    default: return kOther;
  }
}

bool HeaderFields::is_connect() const noexcept {
  return !is_malformed_ && has_method_ && has_[kAuthority] && !has_[kStatus];
}

ConnectRequest HeaderFields::request() const noexcept {
  return {.authority = kept_[kAuthority],
          .baggage = kept_[kBaggage],
          .forwarded = kept_[kForwarded],
          .traceparent = kept_[kTraceparent],
          .forwarded_network = kept_[kForwardedNetwork]};
}

std::uint16_t HeaderFields::status() const noexcept {
  const std::string& text = kept_[kStatus];
  if (is_malformed_ || has_method_ || has_[kAuthority] || text.size() != 3) return 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return 0;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value >= 100 ? static_cast<std::uint16_t>(value) : std::uint16_t{0};
}

}  // namespace culvert::hbone
