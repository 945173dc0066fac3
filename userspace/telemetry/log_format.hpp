// SPDX-License-Identifier: Apache-2.0
// The agent's log lines as text: the access log in the fields, order and two formats of Istio's ztunnel (tab-separated and
// JSON), and plain messages. Pure functions that append to a string, the line break included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "telemetry/connection_log.hpp"

namespace culvert::telemetry {

// Off is the threshold that no line reaches, and no line's level.
enum class Level : std::uint8_t { Debug, Info, Warn, Error, Off };
enum class Format : std::uint8_t { Plain, Json };

// "debug", "info", "warn", "error", "off".
[[nodiscard]] std::string_view to_string(Level level) noexcept;
// False when `text` is none of the first four.
[[nodiscard]] bool parse(std::string_view text, Level& level) noexcept;

// No line is longer: fields and messages are cut before that. Bounds what one call may take from the queue.
inline constexpr std::size_t kLineBytesMax = 40'960;

// Info for a completed connection; Warn for one that was refused before anything was opened for it; Error for every other reason.
[[nodiscard]] Level level_of(const ConnectionLog& connection) noexcept;
void append_access_line(std::string& out, const ConnectionLog& connection, std::uint64_t now_us, Format format);
// Level Debug; who and where, without what only an end tells: bytes, duration and error.
void append_opened_line(std::string& out, const ConnectionLog& connection, std::uint64_t now_us, Format format);
// One question of a pod that its DNS proxy has answered; level Debug, target `dns`.
struct DnsLog {
  std::string_view source_workload;
  std::string_view source_namespace;
  std::string_view query;   // the type: "A", "AAAA", ...
  std::string_view domain;  // the name
  std::string_view result;
  std::size_t endpoints = 0;  // records of the answer
};
void append_dns_line(std::string& out, const DnsLog& question, std::uint64_t now_us, Format format);
void append_message_line(std::string& out, Level level, std::string_view message, std::uint64_t now_us, Format format);

}  // namespace culvert::telemetry
