// SPDX-License-Identifier: Apache-2.0
#include "telemetry/exposition.hpp"

#include <array>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "telemetry/text.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::string_view kTotal = "_total";

// Only these are made here.
std::string_view type_word(prometheus::MetricType type) {
  if (type == prometheus::MetricType::Histogram) return "histogram";
  return type == prometheus::MetricType::Counter ? "counter" : "gauge";
}

void append_head(std::string& out, std::string_view name, std::string_view help, std::string_view type,
                 ExpositionFormat format) {
  if (format == ExpositionFormat::OpenMetrics && type == "counter" && name.ends_with(kTotal)) {
    name.remove_suffix(kTotal.size());
  }
  out.append("# HELP ").append(name).append(" ");
  append_help(out, help, format == ExpositionFormat::OpenMetrics);
  out.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
}

void append_value(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    fmt::format_to(std::back_inserter(out), "{}", value);
  }
}

// With one more label where `extra` has a name.
void append_sample(std::string& out, std::string_view name, std::string_view suffix,
                   const prometheus::ClientMetric& sample, std::string_view extra, std::string_view extra_value,
                   double value) {
  out.append(name).append(suffix);
  char before = '{';
  const auto label = [&](std::string_view key, std::string_view text) {
    (out += before).append(key).append("=\"");
    append_label_value(out, text);
    out += '"';
    before = ',';
  };
  for (const auto& [key, text] : sample.label) label(key, text);
  if (!extra.empty()) label(extra, extra_value);
  if (before == ',') out += '}';
  out += ' ';
  append_value(out, value);
  out += '\n';
}

// The bound of a bucket is a label, and OpenMetrics writes it as a number with a point.
std::string bound_text(double bound, ExpositionFormat format) {
  std::string text;
  append_value(text, bound);
  const bool is_whole = text.find_first_not_of("-0123456789") == std::string::npos;
  if (format == ExpositionFormat::OpenMetrics && is_whole) text += ".0";
  return text;
}

void append_histogram(std::string& out, const prometheus::MetricFamily& family, const prometheus::ClientMetric& sample,
                      ExpositionFormat format) {
  const prometheus::ClientMetric::Histogram& histogram = sample.histogram;
  const auto count = static_cast<double>(histogram.sample_count);
  bool has_last = false;
  for (const auto& bucket : histogram.bucket) {
    has_last = std::isinf(bucket.upper_bound);
    append_sample(out, family.name, "_bucket", sample, "le", bound_text(bucket.upper_bound, format),
                  static_cast<double>(bucket.cumulative_count));
  }
  if (!has_last) append_sample(out, family.name, "_bucket", sample, "le", "+Inf", count);
  append_sample(out, family.name, "_sum", sample, {}, {}, histogram.sample_sum);
  append_sample(out, family.name, "_count", sample, {}, {}, count);
}

struct TrafficFamily {
  std::string_view name;
  std::string_view help;
  LabelSet::Kind kind;
  bool is_by_flag;                    // a sample for each flag that is not 0
  std::size_t first_flag;             // of those
  std::uint64_t TrafficRow::* value;  // otherwise
};
using Kind = LabelSet::Kind;
constexpr std::array<TrafficFamily, 6> kTraffic{{
    {"istio_tcp_connections_opened_total", "The total number of TCP connections opened", Kind::Traffic, false, 0,
     &TrafficRow::opened},
    {"istio_tcp_connections_closed_total", "The total number of TCP connections closed", Kind::Traffic, true, kNoFlag,
     nullptr},
    {"istio_tcp_connections_failed_total", "The total number of TCP connections that failed", Kind::Traffic, true,
     kNoFlag + 1, nullptr},
    {"istio_tcp_received_bytes_total", "The total number of bytes from client to server", Kind::Traffic, false, 0,
     &TrafficRow::received_bytes},
    {"istio_tcp_sent_bytes_total", "The total number of bytes from server to client", Kind::Traffic, false, 0,
     &TrafficRow::sent_bytes},
    {"istio_on_demand_dns_total", "The total number of connections that waited for DNS to name their endpoint",
     Kind::NameLookup, false, 0, &TrafficRow::opened},
}};

void append_row(std::string& out, const TrafficFamily& family, const TrafficRow& row, std::size_t flag,
                std::uint64_t value) {
  out += family.name;
  append_labels(out, row.labels, kResponseFlags[flag]);
  out += ' ';
  append_number(out, value);
  out += '\n';
}

}  // namespace

std::string_view content_type(ExpositionFormat format) noexcept {
  return format == ExpositionFormat::OpenMetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                                 : "text/plain; version=0.0.4; charset=utf-8";
}

void append_family(std::string& out, const prometheus::MetricFamily& family, ExpositionFormat format) {
  append_head(out, family.name, family.help, type_word(family.type), format);
  for (const prometheus::ClientMetric& sample : family.metric) {
    if (family.type == prometheus::MetricType::Histogram) {
      append_histogram(out, family, sample, format);
      continue;
    }
    const bool is_counter = family.type == prometheus::MetricType::Counter;
    append_sample(out, family.name, {}, sample, {}, {}, is_counter ? sample.counter.value : sample.gauge.value);
  }
}

bool Exposition::next_traffic(std::string& out, std::size_t end) {
  const TrafficFamily& family = kTraffic[family_];
  if (!std::exchange(is_begun_, true)) append_head(out, family.name, family.help, "counter", format_);
  for (; place_ < scrape_.traffic.size(); ++place_) {
    if (out.size() >= end) return true;
    const TrafficRow& row = scrape_.traffic[place_];
    if (row.labels.kind != family.kind) continue;
    if (!family.is_by_flag) {
      append_row(out, family, row, kNoFlag, row.*family.value);
      continue;
    }
    for (std::size_t flag = family.first_flag; flag < row.closed.size(); ++flag) {
      if (row.closed[flag] > 0) append_row(out, family, row, flag, row.closed[flag]);
    }
  }
  return false;
}

bool Exposition::next(std::string& out, std::size_t bytes) {
  const std::size_t end = out.size() + bytes;
  while (family_ < kTraffic.size()) {
    if (next_traffic(out, end)) return true;
    place_ = 0;
    is_begun_ = false;
    ++family_;
  }
  for (; place_ < scrape_.families.size(); ++place_) {
    if (out.size() >= end) return true;
    append_family(out, scrape_.families[place_], format_);
  }
  if (format_ == ExpositionFormat::OpenMetrics) out += "# EOF\n";
  return false;
}

}  // namespace culvert::telemetry
