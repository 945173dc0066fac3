// SPDX-License-Identifier: Apache-2.0
// Log lines; see log_format.hpp. Plain: TIME \t LEVEL \t TARGET \t MESSAGE \t k=v k=v. Strings are quoted, addresses and
// numbers are not. JSON: level, time, scope, message, then the same fields flat. Pure; any thread.
#include "telemetry/log_format.hpp"

#include <array>

#include "telemetry/text.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::array<std::string_view, 5> kLevels{"debug", "info", "warn", "error", "off"};
constexpr std::string_view kTarget = "culvert";  // of messages; connections and DNS have their own
// Before escaping, which makes six bytes of one at worst.
constexpr std::size_t kMessageBytesMax = 6'144;
constexpr std::size_t kFieldBytesMax = 640;
constexpr std::size_t kTextFields = 10;
static_assert(6 * kMessageBytesMax + 1'024 <= kLineBytesMax);
static_assert(6 * kTextFields * kFieldBytesMax + 1'024 <= kLineBytesMax);

// One field after another, in either format.
class Fields {
 public:
  Fields(std::string& out, Format format) : out_(out), format_(format) {}

  void text(std::string_view name, std::string_view value) {
    if (value.empty()) return;
    key(name);
    value = value.substr(0, kFieldBytesMax);
    if (format_ == Format::Json) {
      append_json_string(out_, value);
    } else {
      append_quoted(out_, value);
    }
  }
  void endpoint(std::string_view name, const Endpoint& value) {
    key(name);
    if (format_ == Format::Json) out_ += '"';
    append_endpoint(out_, value);
    if (format_ == Format::Json) out_ += '"';
  }
  // An address as text; nothing when it is empty.
  void bare(std::string_view name, std::string_view value) {
    if (value.empty()) return;
    key(name);
    if (format_ == Format::Json) {
      append_json_string(out_, value);
    } else {
      out_ += value;
    }
  }
  void number(std::string_view name, std::uint64_t value) {
    key(name);
    append_number(out_, value);
  }
  void milliseconds(std::string_view name, std::uint64_t value) {
    key(name);
    out_ += '"';
    append_number(out_, value);
    out_ += "ms\"";
  }
  // `reason`, and `detail` after a colon when there is one.
  void error(std::string_view name, std::string_view reason, std::string_view detail) {
    if (detail.empty()) return text(name, reason);
    std::string joined(reason);
    joined += ": ";
    joined += detail;
    text(name, joined);
  }

 private:
  void key(std::string_view name) {
    if (format_ == Format::Json) {
      out_ += ",\"";
      out_ += name;
      out_ += "\":";
      return;
    }
    out_ += is_first_ ? '\t' : ' ';
    is_first_ = false;
    out_ += name;
    out_ += '=';
  }

  std::string& out_;
  Format format_;
  bool is_first_ = true;
};

void append_head(std::string& out, Level level, std::string_view target, std::uint64_t now_us, Format format) {
  if (format == Format::Json) {
    out += "{\"level\":\"";
    out += to_string(level);
    out += "\",\"time\":\"";
    append_time(out, now_us);
    out += "\",\"scope\":\"";
    out += target;
    out += "\",\"message\":";
    return;
  }
  append_time(out, now_us);
  out += '\t';
  out += to_string(level);
  out += '\t';
  out += target;
  out += '\t';
}

void append_fields_head(std::string& out, Level level, std::string_view target, std::string_view message,
                        std::uint64_t now_us, Format format) {
  append_head(out, level, target, now_us, format);
  if (format == Format::Json) {
    append_json_string(out, message);
  } else {
    out += message;
  }
}

void append_sides(Fields& fields, const ConnectionLog& connection) {
  fields.endpoint("src.addr", connection.source.address);
  fields.text("src.workload", connection.source.workload);
  fields.text("src.namespace", connection.source.namespace_name);
  fields.text("src.identity", connection.source.identity);
  fields.text("src.cluster", connection.source.cluster);
  fields.endpoint("dst.addr", connection.destination.address);
  fields.bare("dst.hbone_addr", connection.authority);
  fields.text("dst.service", connection.service);
  fields.text("dst.workload", connection.destination.workload);
  fields.text("dst.namespace", connection.destination.namespace_name);
  fields.text("dst.identity", connection.destination.identity);
  fields.text("dst.cluster", connection.destination.cluster);
  fields.text("direction", to_string(connection.direction));
}

// The connection was made, and an application ended it: with RST or not is theirs to choose, and no error.
bool is_end(CloseReason reason) noexcept {
  return reason == CloseReason::Completed || reason == CloseReason::ClientReset || reason == CloseReason::ServerReset;
}

// ztunnel says so of what it refuses before it knows both sides.
bool is_early(CloseReason reason) noexcept {
  return reason == CloseReason::SelfCall || reason == CloseReason::NoRoute || reason == CloseReason::UnknownDestination;
}

void append_tail(std::string& out, Format format) { out += format == Format::Json ? "}\n" : "\n"; }

}  // namespace

std::string_view to_string(Level level) noexcept {
  const auto index = static_cast<std::size_t>(level);
  return index < kLevels.size() ? kLevels[index] : "unknown";
}

bool parse(std::string_view text, Level& level) noexcept {
  for (std::size_t i = 0; i < static_cast<std::size_t>(Level::Off); ++i) {
    if (kLevels[i] != text) continue;
    level = static_cast<Level>(i);
    return true;
  }
  return false;
}

Level level_of(const ConnectionLog& connection) noexcept {
  if (is_end(connection.reason)) return Level::Info;
  return is_early(connection.reason) ? Level::Warn : Level::Error;
}

void append_access_line(std::string& out, const ConnectionLog& connection, std::uint64_t now_us, Format format) {
  append_fields_head(out, level_of(connection), "access",
                     is_early(connection.reason) ? "connection failed" : "connection complete", now_us, format);
  Fields fields(out, format);
  append_sides(fields, connection);
  fields.number("bytes_sent", connection.bytes_sent);
  fields.number("bytes_recv", connection.bytes_received);
  fields.milliseconds("duration", connection.duration_ms);
  if (connection.reason != CloseReason::Completed) {
    fields.error(is_end(connection.reason) ? "reason" : "error", text(connection.reason), connection.detail);
  }
  append_tail(out, format);
}

void append_opened_line(std::string& out, const ConnectionLog& connection, std::uint64_t now_us, Format format) {
  append_fields_head(out, Level::Debug, "access", "connection opened", now_us, format);
  Fields fields(out, format);
  append_sides(fields, connection);
  append_tail(out, format);
}

void append_dns_line(std::string& out, const DnsLog& question, std::uint64_t now_us, Format format) {
  append_fields_head(out, Level::Debug, "dns", "question answered", now_us, format);
  Fields fields(out, format);
  fields.text("src.workload", question.source_workload);
  fields.text("src.namespace", question.source_namespace);
  fields.text("query", question.query);
  fields.text("domain", question.domain);
  fields.text("result", question.result);
  fields.number("endpoints", question.endpoints);
  append_tail(out, format);
}

void append_message_line(std::string& out, Level level, std::string_view message, std::uint64_t now_us, Format format) {
  append_head(out, level, kTarget, now_us, format);
  message = message.substr(0, kMessageBytesMax);
  if (format == Format::Json) {
    append_json_string(out, message);
  } else {
    append_one_line(out, message);
  }
  append_tail(out, format);
}

}  // namespace culvert::telemetry
