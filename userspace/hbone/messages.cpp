// SPDX-License-Identifier: Apache-2.0
#include "hbone/messages.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/text.hpp"

namespace culvert::hbone {
namespace {

constexpr std::size_t kHostBytesMax = 253;
constexpr std::size_t kLabelBytesMax = 63;

// 1..65535, decimal, without sign or leading zero.
std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || text.front() == '0') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > 65'535) return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Labels of letters, digits, hyphens and underscores. What could be taken for an address (the last label is a number) is not a name.
bool is_hostname(std::string_view host) noexcept {
  if (host.empty() || host.size() > kHostBytesMax) return false;
  while (true) {
    const std::size_t dot = host.find('.');
    const std::string_view label = host.substr(0, dot);
    if (label.empty() || label.size() > kLabelBytesMax || label.front() == '-' || label.back() == '-') return false;
    if (!std::all_of(label.begin(), label.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; }))
      return false;
    if (dot == std::string_view::npos) return !std::all_of(label.begin(), label.end(), is_digit);
    host.remove_prefix(dot + 1);
  }
}

// Where the first `;` or `,` outside quotes is; the size when there is none.
std::size_t pair_end(std::string_view text) noexcept {
  bool is_quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_quoted && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      is_quoted = !is_quoted;
    else if (!is_quoted && (text[i] == ';' || text[i] == ','))
      return i;
  }
  return text.size();
}

bool parse_hex(std::string_view text, std::uint64_t& value) noexcept {
  value = 0;
  for (const char c : text) {
    if (!is_digit(c) && (c < 'a' || c > 'f')) return false;
    value = value << 4U | static_cast<std::uint64_t>(is_digit(c) ? c - '0' : c - 'a' + 10);
  }
  return true;
}

}  // namespace

std::optional<Authority> parse_authority(std::string_view text) noexcept {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  if (!port || host.empty()) return std::nullopt;
  const bool has_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!has_brackets && is_hostname(host)) return Authority{.endpoint = std::nullopt, .host = host, .port = *port};
  if (has_brackets) host = host.substr(1, host.size() - 2);
  if (has_brackets != (host.find(':') != std::string_view::npos)) return std::nullopt;
  const auto address = IpAddress::parse(host);
  if (!address) return std::nullopt;
  return Authority{.endpoint = Endpoint{*address, *port}, .host = {}, .port = *port};
}

std::string format_authority(const Endpoint& endpoint) { return endpoint.to_string(); }

std::string format_authority(std::string_view host, std::uint16_t port) { return fmt::format("{}:{}", host, port); }

std::string format_forwarded(const Endpoint& source, std::string_view service_host) {
  std::string text = fmt::format("for=\"{}\"", source.to_string());
  if (!service_host.empty()) text.append(";host=").append(service_host);
  return text;
}

std::string_view forwarded_host(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t end = pair_end(text);
    const std::string_view pair = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || !equals_ignoring_case(pair.substr(0, equals), "host")) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    const bool is_plain =
        std::all_of(value.begin(), value.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '"' && c != '\\'; });
    return is_plain ? value : std::string_view{};
  }
  return {};
}

std::string format_traceparent(const TraceParent& parent) {
  return fmt::format("00-{:016x}{:016x}-{:016x}-0{}", parent.trace_high, parent.trace_low, parent.span,
                     parent.is_sampled ? 1 : 0);
}

std::optional<TraceParent> parse_traceparent(std::string_view text) noexcept {
  // version-trace-span-flags: 2, 32, 16 and 2 digits. Zeros name nothing.
  if (text.size() != 55 || !text.starts_with("00-") || text[35] != '-' || text[52] != '-') return std::nullopt;
  TraceParent parent;
  std::uint64_t flags = 0;
  const bool is_hex = parse_hex(text.substr(3, 16), parent.trace_high) &&
                      parse_hex(text.substr(19, 16), parent.trace_low) && parse_hex(text.substr(36, 16), parent.span) &&
                      parse_hex(text.substr(53, 2), flags);
  if (!is_hex || (parent.trace_high | parent.trace_low) == 0 || parent.span == 0) return std::nullopt;
  parent.is_sampled = (flags & 1U) != 0;
  return parent;
}

}  // namespace culvert::hbone
