// SPDX-License-Identifier: Apache-2.0
// What the DNS proxy counts, by who asked what, and how. As label sets of traffic (decision 018) a set ends when nobody has asked for a while, and there
// is a limit, beyond which everything counts as `overflow`. Control thread.
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
  std::uint64_t last_used_ms = 0;
};

class Counters {
 public:
  static constexpr std::size_t kRowsMax = 4'096;
  // `now_ms`: of a clock that does not go back. The row lives until the next call.
  CounterRow& at(CounterKey key, std::uint64_t now_ms) {
    if (rows_.size() >= kRowsMax && !rows_.contains(key)) key.source_service = key.source_revision = "overflow";
    CounterRow& row = rows_[key];
    row.last_used_ms = now_ms;
    return row;
  }
  void sweep(std::uint64_t expiry_ms, std::uint64_t now_ms) {
    std::erase_if(rows_, [&](const auto& one) { return one.second.last_used_ms + expiry_ms <= now_ms; });
  }
  [[nodiscard]] const std::map<CounterKey, CounterRow>& rows() const noexcept { return rows_; }

 private:
  std::map<CounterKey, CounterRow> rows_;
};

}  // namespace culvert::dns
