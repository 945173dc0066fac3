// SPDX-License-Identifier: Apache-2.0
// The workers' traffic of one moment, added up by label set, with text that stays for as long as somebody holds the rows. Control thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "telemetry/traffic_table.hpp"

namespace culvert::telemetry {

struct TrafficRow {
  LabelSet labels;
  std::uint64_t opened = 0;  // NameLookup: questions
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_bytes = 0;
  std::array<std::uint64_t, kResponseFlags.size()> closed{};
};

// Only sets under which a connection was opened.
[[nodiscard]] std::vector<TrafficRow> traffic_rows(std::span<const TrafficTable* const> workers);

}  // namespace culvert::telemetry
