// SPDX-License-Identifier: Apache-2.0
// The answer to a scrape, as text, in parts: with thousands of label sets it is tens of megabytes, which neither have to be in memory at once nor may
// keep the control thread from its other work. Two formats: Prometheus text 0.0.4, and OpenMetrics 1.0.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "telemetry/traffic_rows.hpp"

namespace culvert::telemetry {

enum class ExpositionFormat : std::uint8_t { Text, OpenMetrics };

[[nodiscard]] std::string_view content_type(ExpositionFormat format) noexcept;

// Everything that one scrape tells, of one moment.
struct Scrape {
  std::vector<prometheus::MetricFamily> families;
  std::vector<TrafficRow> traffic;
};

// Appends the family with its help and type. Counters' names end in _total, which OpenMetrics leaves out of the family's name.
void append_family(std::string& out, const prometheus::MetricFamily& family, ExpositionFormat format);

class Exposition {
 public:
  Exposition(Scrape scrape, ExpositionFormat format) : scrape_(std::move(scrape)), format_(format) {}
  // Appends the next part, of about `bytes`. False: that was the last.
  [[nodiscard]] bool next(std::string& out, std::size_t bytes);

 private:
  // False: this family of traffic is complete.
  [[nodiscard]] bool next_traffic(std::string& out, std::size_t end);

  Scrape scrape_;
  ExpositionFormat format_;
  std::size_t family_ = 0;  // of traffic
  bool is_begun_ = false;   // its head is written
  std::size_t place_ = 0;   // among its rows; after the last, among the other families
};

}  // namespace culvert::telemetry
