// SPDX-License-Identifier: Apache-2.0
// What the DNS proxy counts, by who asked what, and how. Control thread.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>

namespace culvert::dns {

struct CounterKey {
  std::string query_type;  // "a", "aaaa", "other"
  bool is_tcp = false;
  std::string source_service;  // canonical
  std::string source_revision;
  auto operator<=>(const CounterKey&) const = default;
};

inline constexpr std::array<double, 6> kUpstreamBucketsS = {0.0005, 0.001, 0.01, 0.1, 1, 5};

struct CounterRow {
  std::uint64_t requests = 0;
  std::uint64_t upstream_requests = 0;
  std::uint64_t upstream_failures = 0;
  std::array<std::uint64_t, kUpstreamBucketsS.size() + 1> upstream_durations{};  // each its own; the last: longer
  double upstream_sum_s = 0;
};

class Counters {
 public:
  static constexpr std::size_t kRowsMax = 4'096;  // beyond it one row, without a source, for all that come
  CounterRow& at(CounterKey key) {
    if (rows_.size() >= kRowsMax && !rows_.contains(key)) key.source_service = key.source_revision = "unknown";
    return rows_[key];
  }
  [[nodiscard]] const std::map<CounterKey, CounterRow>& rows() const noexcept { return rows_; }

 private:
  std::map<CounterKey, CounterRow> rows_;
};

}  // namespace culvert::dns
