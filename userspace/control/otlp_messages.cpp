// SPDX-License-Identifier: Apache-2.0
#include "control/otlp_messages.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <grpcpp/support/status.h>

#include "proto/otlp_collector.pb.h"
#include "proto/rpc_status.pb.h"
#include "telemetry/response_flag.hpp"

namespace culvert::control {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace trace = opentelemetry::proto::trace::v1;
using telemetry::ConnectionLog;
using telemetry::Direction;

constexpr std::size_t kTextBytesMax = 1'024;
constexpr std::size_t kReasonBytesMax = 300;
constexpr std::uint32_t kFlagSampled = 0x001;
constexpr std::uint32_t kFlagHasIsRemote = 0x100;
constexpr std::uint32_t kFlagIsRemote = 0x200;
constexpr std::uint64_t kRetryAfterMsMax = 600'000;

std::string printable(std::string_view text, std::size_t size_max = kTextBytesMax) {
  std::string made(text.substr(0, size_max));
  std::ranges::replace_if(made, [](char c) { return c < ' ' || c > '~'; }, '?');
  return made;
}

std::string big_endian(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56U - 8U * i));
  return bytes;
}

// Attributes of a span or a resource; empty texts are left out.
template <typename Message>
class Attributes {
 public:
  explicit Attributes(Message& to) : to_(to) {}
  void text(std::string_view key, std::string_view value) {
    if (!value.empty()) add(key).set_string_value(printable(value));
  }
  void number(std::string_view key, std::uint64_t value) { add(key).set_int_value(static_cast<std::int64_t>(value)); }
  void boolean(std::string_view key, bool value) { add(key).set_bool_value(value); }
  void endpoint(std::string_view of, const Endpoint& value) {
    text(fmt::format("{}.address", of), value.address.to_string());
    number(fmt::format("{}.port", of), value.port);
  }
  void party(std::string_view of, const telemetry::Party& party) {
    text(fmt::format("{}.principal", of), party.identity);
    text(fmt::format("{}.workload.name", of), party.workload);
    text(fmt::format("{}.workload.namespace", of), party.namespace_name);
    text(fmt::format("{}.cluster.id", of), party.cluster);
  }

 private:
  common::AnyValue& add(std::string_view key) {
    common::KeyValue& pair = *to_.add_attributes();
    pair.set_key(printable(key));
    return *pair.mutable_value();
  }
  Message& to_;
};

// The server as the client's application knows it, and as it is reached.
void write_addresses(const ConnectionLog& connection, Attributes<trace::Span>& to) {
  const Endpoint& dialled = connection.original_destination;
  to.endpoint("client", connection.source.address);
  to.text("server.address", connection.service.empty() ? dialled.address.to_string() : connection.service);
  to.number("server.port", dialled.port);
  to.endpoint("source", connection.source.address);
  to.endpoint("destination", dialled);
  // The other end of this agent's own connection: the next hop, or the client.
  to.endpoint("network.peer",
              connection.direction == Direction::Outbound ? connection.destination.address : connection.source.address);
  to.text("network.transport", "tcp");
  to.text("network.type", dialled.address.family() == AF_INET ? "ipv4" : "ipv6");
}

void write_attributes(const ConnectionLog& connection, trace::Span& span) {
  Attributes to(span);
  write_addresses(connection, to);
  to.party("source", connection.source);
  to.party("destination", connection.destination);
  to.text("destination.service.host", connection.service);
  to.number("connection.received.bytes", connection.bytes_received);
  to.number("connection.sent.bytes", connection.bytes_sent);
  to.boolean("connection.mtls", !connection.cipher.empty());
  const std::size_t flag = telemetry::response_flag_of(connection.direction, connection.reason);
  to.text("response_flags", telemetry::kResponseFlags[flag]);
  if (!connection.cipher.empty()) {
    to.text("tls.protocol.name", "tls");
    to.text("tls.protocol.version", "1.3");
    to.text("tls.cipher", connection.cipher);
  }
  to.text("culvert.tunnel", telemetry::to_string(connection.transport));
  if (connection.transport != telemetry::Transport::Plaintext) to.text("culvert.authority", connection.authority);
  to.text("culvert.pod", connection.pod);
  to.text("culvert.route", connection.why);
  to.text("culvert.close_reason", telemetry::label(connection.reason));
  if (flag == telemetry::kNoFlag) return;
  to.text("error.type", telemetry::label(connection.reason));
  span.mutable_status()->set_code(trace::Status::STATUS_CODE_ERROR);
  std::string message(telemetry::text(connection.reason));
  if (!connection.detail.empty()) message.append(": ").append(connection.detail);
  span.mutable_status()->set_message(printable(message));
}

void write_span(const telemetry::Span& from, trace::Span& to) {
  const telemetry::TraceContext& context = from.context;
  const bool is_outbound = from.connection.direction == Direction::Outbound;
  to.set_trace_id(big_endian(context.trace_high) + big_endian(context.trace_low));
  to.set_span_id(big_endian(context.span));
  if (context.parent != 0) to.set_parent_span_id(big_endian(context.parent));
  to.set_flags(kFlagSampled | kFlagHasIsRemote | (context.parent != 0 ? kFlagIsRemote : 0U));
  to.set_name(is_outbound ? "outbound connection" : "inbound connection");
  to.set_kind(is_outbound ? trace::Span::SPAN_KIND_CLIENT : trace::Span::SPAN_KIND_SERVER);
  to.set_start_time_unix_nano(from.connection.start_us * 1'000);
  to.set_end_time_unix_nano(from.end_us * 1'000);
  write_attributes(from.connection, to);
}

// RetryInfo among the details of a status; null: there is none.
std::optional<std::uint64_t> retry_after_ms(const std::string& details) {
  google::rpc::Status status;
  if (details.empty() || !status.ParseFromString(details)) return std::nullopt;
  for (const google::rpc::Detail& detail : status.details()) {
    google::rpc::RetryInfo info;
    if (!detail.type_url().ends_with("/google.rpc.RetryInfo") || !info.ParseFromString(detail.value())) continue;
    const std::int64_t ms =
        std::clamp<std::int64_t>(info.retry_delay().seconds(), 0, kRetryAfterMsMax / 1'000) * 1'000 +
        std::clamp(info.retry_delay().nanos(), 0, 999'999'999) / 1'000'000;
    return static_cast<std::uint64_t>(ms);
  }
  return std::nullopt;
}

bool is_retryable(grpc::StatusCode code, bool has_retry_info) noexcept {
  switch (code) {
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DATA_LOSS: return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return has_retry_info;
    default: return false;
  }
}

}  // namespace

void write_spans(std::span<const telemetry::Span> spans, const HeaderList& resource, ExportRequest& to) {
  trace::ResourceSpans& all = *to.add_resource_spans();
  Attributes attributes(*all.mutable_resource());
  for (const auto& [key, value] : resource) attributes.text(key, value);
  trace::ScopeSpans& ours = *all.add_scope_spans();
  ours.mutable_scope()->set_name("culvert");
  ours.mutable_scope()->set_version(CULVERT_VERSION);
  for (const telemetry::Span& span : spans) write_span(span, *ours.add_spans());
}

ExportAnswer read_answer(const grpc::Status& status, const ExportResponse& response) {
  ExportAnswer answer;
  if (status.ok()) {
    const auto& partial = response.partial_success();
    answer.rejected_spans = static_cast<std::uint64_t>(std::max<std::int64_t>(partial.rejected_spans(), 0));
    answer.why = printable(partial.error_message(), kReasonBytesMax);
    return answer;
  }
  answer.retry_after_ms = retry_after_ms(status.error_details());
  answer.outcome = is_retryable(status.error_code(), answer.retry_after_ms.has_value())
                       ? ExportAnswer::Outcome::Retry
                       : ExportAnswer::Outcome::Refused;
  answer.why = fmt::format("status {}: {}", static_cast<int>(status.error_code()),
                           printable(status.error_message(), kReasonBytesMax));
  return answer;
}

}  // namespace culvert::control
