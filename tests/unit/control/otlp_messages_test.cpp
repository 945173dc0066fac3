// SPDX-License-Identifier: Apache-2.0
// What of a connection is written into a span, and what each answer of a collector means. tests/netns/test_tracing.py reads spans with OpenTelemetry's own messages.
#include "control/otlp_messages.hpp"

#include <grpcpp/support/status.h>
#include <catch2/catch.hpp>

#include "proto/otlp_collector.pb.h"
#include "proto/rpc_status.pb.h"

namespace culvert::control {
namespace {

opentelemetry::proto::trace::v1::Span written(const telemetry::Span& span) {
  ExportRequest request;
  write_spans({&span, 1}, {}, request);
  // As it arrives: bytes that are no UTF-8 would not be read.
  ExportRequest read;
  REQUIRE(read.ParseFromString(request.SerializeAsString()));
  return read.resource_spans(0).scope_spans(0).spans(0);
}

}  // namespace

TEST_CASE("numbers of traces and spans are written as W3C Trace Context writes them") {
  telemetry::Span span;
  span.context = {
      .trace_high = 0x0102030405060708, .trace_low = 0x090a0b0c0d0e0f10, .span = 0x1112131415161718, .parent = 0};
  span.connection.start_us = 5;
  span.end_us = 7;
  const auto root = written(span);
  CHECK(root.trace_id() == std::string("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"));
  CHECK(root.span_id() == std::string("\x11\x12\x13\x14\x15\x16\x17\x18"));
  CHECK(root.parent_span_id().empty());
  CHECK(root.flags() == 0x101);
  CHECK(root.start_time_unix_nano() == 5'000);
  CHECK(root.end_time_unix_nano() == 7'000);
  span.context.parent = 1;
  CHECK(written(span).flags() == 0x301);
  CHECK(written(span).parent_span_id() == std::string("\0\0\0\0\0\0\0\1", 8));
}

TEST_CASE("text that is no printable ASCII does not get out, and long text is cut") {
  telemetry::Span span;
  span.connection.service = "a\xff\n\xc3\xa4";
  span.connection.reason = telemetry::CloseReason::TunnelBroken;
  span.connection.detail = std::string(5'000, 'x');
  const auto made = written(span);
  CHECK(made.status().message().size() == 1'024);
  bool is_found = false;
  for (const auto& pair : made.attributes())
    is_found |= pair.key() == "server.address" && pair.value().string_value() == "a????";
  CHECK(is_found);
}

TEST_CASE("each answer of a collector means what the specification says") {
  using Code = grpc::StatusCode;
  using Outcome = ExportAnswer::Outcome;
  const auto outcome = [](Code code, const std::string& details = {}) {
    return read_answer(grpc::Status(code, "why", details), {}).outcome;
  };
  CHECK(outcome(Code::OK) == Outcome::Accepted);
  for (const Code code : {Code::CANCELLED, Code::DEADLINE_EXCEEDED, Code::ABORTED, Code::OUT_OF_RANGE,
                          Code::UNAVAILABLE, Code::DATA_LOSS})
    CHECK(outcome(code) == Outcome::Retry);
  for (const Code code : {Code::UNKNOWN, Code::INVALID_ARGUMENT, Code::NOT_FOUND, Code::ALREADY_EXISTS,
                          Code::PERMISSION_DENIED, Code::UNAUTHENTICATED, Code::FAILED_PRECONDITION,
                          Code::UNIMPLEMENTED, Code::INTERNAL, Code::RESOURCE_EXHAUSTED})
    CHECK(outcome(code) == Outcome::Refused);
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(2);
  info.mutable_retry_delay()->set_nanos(500'000'000);
  google::rpc::Status status;
  status.add_details()->set_type_url("type.googleapis.com/google.rpc.DebugInfo");
  auto& detail = *status.add_details();
  detail.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  detail.set_value(info.SerializeAsString());
  CHECK(outcome(Code::RESOURCE_EXHAUSTED, status.SerializeAsString()) == Outcome::Retry);
  CHECK(read_answer(grpc::Status(Code::UNAVAILABLE, "why", status.SerializeAsString()), {}).retry_after_ms == 2'500);
  CHECK(outcome(Code::RESOURCE_EXHAUSTED, "no message") == Outcome::Refused);
  info.mutable_retry_delay()->set_seconds(-7);
  detail.set_value(info.SerializeAsString());
  CHECK(read_answer(grpc::Status(Code::UNAVAILABLE, "why", status.SerializeAsString()), {}).retry_after_ms == 500);
}

TEST_CASE("a collector may take a part") {
  ExportResponse response;
  response.mutable_partial_success()->set_rejected_spans(3);
  response.mutable_partial_success()->set_error_message("three are too old\n");
  const ExportAnswer answer = read_answer(grpc::Status::OK, response);
  CHECK(answer.outcome == ExportAnswer::Outcome::Accepted);
  CHECK(answer.rejected_spans == 3);
  CHECK(answer.why == "three are too old?");
  response.mutable_partial_success()->set_rejected_spans(-1);
  CHECK(read_answer(grpc::Status::OK, response).rejected_spans == 0);
}

}  // namespace culvert::control
