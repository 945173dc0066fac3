// SPDX-License-Identifier: Apache-2.0
// Which bytes are a request, and which are refused with what.
#include <string>

#include <catch2/catch.hpp>

#include "admin/http_request.hpp"

namespace culvert::admin {
namespace {

using State = ParsedHead::State;

ParsedHead parse(const std::string& text, HttpRequest& request) { return parse_head(text, 1'000, request); }

std::string with(const std::string& fields) { return "GET / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n"; }

}  // namespace

TEST_CASE("a request's method, path, query and length are read") {
  HttpRequest request;
  const std::string head = "POST /v1/pods%2Fa%20b?level=debug&x=%41 HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n";
  const auto parsed = parse(head + "hello", request);
  REQUIRE(parsed.state == State::Done);
  CHECK(parsed.head_bytes == head.size());
  CHECK(request.method == "POST");
  CHECK(request.path == "/v1/pods/a b");
  CHECK(request.content_length == 12);
  CHECK(request.parameter("level") == "debug");
  CHECK(request.parameter("x") == "A");
  CHECK(request.parameter("leve").empty());
  CHECK(request.keeps_alive);
  CHECK(request.host == "x");
  CHECK(request.origin.empty());
  CHECK(request.is_http_11);
}

TEST_CASE("a parameter may be there without a value") {
  HttpRequest request;
  REQUIRE(parse("GET /logging?level=&reset&x HTTP/1.0\r\nOrigin: http://a\r\n\r\n", request).state == State::Done);
  for (const char* name : {"level", "reset", "x"}) {
    CHECK(request.has_parameter(name));
    CHECK(request.parameter(name).empty());
  }
  CHECK_FALSE(request.has_parameter("rese"));
  CHECK_FALSE(request.has_parameter("resets"));
  CHECK(request.origin == "http://a");
  CHECK_FALSE(request.is_http_11);
}

TEST_CASE("every proper start of a request asks for more") {
  HttpRequest request;
  const std::string whole = with("Content-Length: 3\r\n");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(parse(whole.substr(0, size), request).state == State::NeedMore);
  }
  CHECK(parse(whole, request).state == State::Done);
}

TEST_CASE("keep-alive follows the version and the Connection field") {
  const struct {
    const char* text;
    bool keeps_alive;
  } cases[] = {
      {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", false},
      {"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, close ,b\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
  };
  for (const auto& one : cases) {
    HttpRequest request;
    REQUIRE(parse(one.text, request).state == State::Done);
    CHECK(request.keeps_alive == one.keeps_alive);
  }
}

TEST_CASE("what is not plainly well-formed is refused with the status that fits") {
  const struct {
    std::string text;
    int status;
  } cases[] = {
      {"\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET /\r\n\r\n", 400},
      {"GET  HTTP/1.1\r\n\r\n", 400},
      {"G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"AVERYLONGMETHODNAME / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
      {"GET / FTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
      {with("Host: y\r\n"), 400},
      {with("No colon\r\n"), 400},
      {with("Space : x\r\n"), 400},
      {with("A: b\r\n folded\r\n"), 400},
      {with(": empty\r\n"), 400},
      {with("A: \x01\r\n"), 400},
      {with("A: b\nC: d\r\n"), 400},
      {with("A: b\rC: d\r\n"), 400},
      {with("Content-Length: -1\r\n"), 400},
      {with("Content-Length: +1\r\n"), 400},
      {with("Content-Length: 1,1\r\n"), 400},
      {with("Content-Length: \r\n"), 400},
      {with("Content-Length: 1\r\nContent-Length: 1\r\n"), 400},
      {with("Content-Length: 1001\r\n"), 413},
      {with("Content-Length: 99999999999999999999999\r\n"), 413},
      {with("Transfer-Encoding: chunked\r\n"), 501},
      {with("Expect: magic\r\n"), 417},
      {"GET /" + std::string(3'000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
      {with("A: " + std::string(kHeadBytesMax, 'a') + "\r\n"), 431},
      {std::string(kHeadBytesMax, 'a'), 431},
  };
  for (const auto& one : cases) {
    INFO(one.text.substr(0, 80));
    HttpRequest request;
    const auto parsed = parse(one.text, request);
    CHECK(parsed.state == State::Bad);
    CHECK(parsed.status == one.status);
    CHECK_FALSE(parsed.reason.empty());
  }
}

TEST_CASE("there is a limit to the number of fields") {
  std::string fields;
  for (std::size_t i = 0; i + 1 < kHeaderFieldsMax; ++i) fields += "a: b\r\n";
  HttpRequest request;
  CHECK(parse(with(fields), request).state == State::Done);
  CHECK(parse(with(fields + "a: b\r\n"), request).status == 431);
}

}  // namespace culvert::admin
