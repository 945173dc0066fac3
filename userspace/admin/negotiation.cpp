// SPDX-License-Identifier: Apache-2.0
#include "admin/negotiation.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace culvert::admin {
namespace {

constexpr int kWeightMax = 1'000;

// Up to the next `separator`, without blanks around; `rest` goes on behind it.
std::string_view cut(std::string_view& rest, char separator) noexcept {
  const std::size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  return trimmed(part);
}

// "0.5" in thousandths. What is no weight counts as 0: the client did not plainly ask.
int parse_weight(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return 0;
  int weight = text[0] == '1' ? kWeightMax : 0;
  if (text.size() == 1) return weight;
  if (text[1] != '.') return 0;
  int unit = kWeightMax / 10;
  for (const char digit : text.substr(2)) {
    if (digit < '0' || digit > '9') return 0;
    weight += unit * (digit - '0');
    unit /= 10;
  }
  return weight > kWeightMax ? 0 : weight;
}

// Each element of a list with its weight.
template <typename Visit>
void for_each_weighted(std::string_view list, Visit&& visit) {
  while (!list.empty()) {
    std::string_view element = cut(list, ',');
    const std::string_view name = cut(element, ';');
    int weight = kWeightMax;
    while (!element.empty()) {
      std::string_view value = cut(element, ';');
      const std::string_view parameter = cut(value, '=');
      if (equals_ignoring_case(parameter, "q")) weight = parse_weight(trimmed(value));
    }
    if (!name.empty()) visit(name, weight);
  }
}

}  // namespace

telemetry::ExpositionFormat exposition_format(std::string_view accept) noexcept {
  auto format = telemetry::ExpositionFormat::Text;
  for_each_weighted(accept, [&](std::string_view name, int weight) {
    if (weight > 0 && equals_ignoring_case(name, "application/openmetrics-text"))
      format = telemetry::ExpositionFormat::OpenMetrics;
  });
  return format;
}

std::string_view to_string(ContentCoding coding) noexcept {
  switch (coding) {
    case ContentCoding::Identity: return "identity";
    case ContentCoding::Gzip: return "gzip";
    case ContentCoding::Deflate: return "deflate";
  }
  return "identity";
}

std::optional<ContentCoding> content_coding(std::string_view accept_encoding) noexcept {
  constexpr int kUnnamed = -1;
  int identity = kUnnamed;
  int gzip = kUnnamed;
  int deflate = kUnnamed;
  int any = kUnnamed;
  for_each_weighted(accept_encoding, [&](std::string_view name, int weight) {
    if (equals_ignoring_case(name, "identity")) identity = weight;
    if (equals_ignoring_case(name, "gzip") || equals_ignoring_case(name, "x-gzip")) gzip = weight;
    if (equals_ignoring_case(name, "deflate")) deflate = weight;
    if (name == "*") any = weight;
  });
  const int best = std::max(gzip, deflate);
  if (best > 0 && best >= identity) return gzip == best ? ContentCoding::Gzip : ContentCoding::Deflate;
  const bool may_be_plain = identity > 0 || (identity == kUnnamed && any != 0);
  if (may_be_plain) return ContentCoding::Identity;
  if (any > 0 && gzip == kUnnamed) return ContentCoding::Gzip;
  if (best > 0) return gzip == best ? ContentCoding::Gzip : ContentCoding::Deflate;
  return std::nullopt;
}

}  // namespace culvert::admin
