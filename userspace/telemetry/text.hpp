// SPDX-License-Identifier: Apache-2.0
// Appending numbers, times, addresses and quoted text to a string that the caller reuses. Pure; no allocation beyond the
// string's own growth, so that a worker can format its access-log line in well under a microsecond.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/address.hpp"

namespace culvert::telemetry {

void append_number(std::string& out, std::uint64_t value);
// "2026-01-31T23:59:59.123456Z" of microseconds since the Unix epoch (RFC 3339, UTC).
void append_time(std::string& out, std::uint64_t wall_us);
// "10.0.0.1:80" or "[2001:db8::1]:80".
void append_endpoint(std::string& out, const Endpoint& endpoint);
// `text` between double quotes as Rust's Debug writes it, which is what ztunnel's plain lines hold: \" \\ \n \r \t \u{7f}.
void append_quoted(std::string& out, std::string_view text);
// `text` with line breaks and other control characters escaped, so that one message is one line and cannot forge another.
void append_one_line(std::string& out, std::string_view text);
// `text` as it stands in a metric's label, in both formats of Prometheus: \\ \" \n escaped; bytes that are not UTF-8 become U+FFFD.
void append_label_value(std::string& out, std::string_view text);
// Help of a metric: \\ and \n escaped, and \" where `escapes_quotes` (OpenMetrics).
void append_help(std::string& out, std::string_view text, bool escapes_quotes);
// `text` between double quotes as JSON (RFC 8259). Bytes that are not UTF-8 become U+FFFD: the output is always valid.
void append_json_string(std::string& out, std::string_view text);

}  // namespace culvert::telemetry
