// SPDX-License-Identifier: Apache-2.0
// The codec of the plugin protocol: what goes in comes out, and nothing else is accepted.
#include <algorithm>

#include <catch2/catch.hpp>

#include "culvert/cni/messages.hpp"

namespace {

using namespace culvert;
using namespace culvert::cni;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

JoinRequest join_request() {
  return {.id = "c0ffee",
          .network = "pods",
          .pod = {"cart", "shop", "cart-sa"},
          .netns_path = "/run/netns/cni-1",
          .addresses = {ip("10.1.0.5"), ip("fd00::5")},
          .enrol = Enrol::Always};
}

}  // namespace

TEST_CASE("every request survives encoding and decoding") {
  const std::vector<Request> requests = {
      join_request(),         CheckRequest{"c0ffee", {"cart", "shop", "default"}, Enrol::Ask},
      LeaveRequest{"c0ffee"}, GcRequest{"pods", {"a", "b"}, "", "b"},
      StatusRequest{},        EligibilityRequest{{"cart", "shop", ""}}};
  for (const Request& request : requests) {
    const auto packet = encode(request);
    REQUIRE(packet);
    CAPTURE(*packet);
    const auto decoded = decode_request(*packet);
    REQUIRE(decoded);
    CHECK(*decoded == request);
  }
}

TEST_CASE("every answer survives encoding and decoding") {
  const AnswerCode codes[] = {
#define X(name, word) AnswerCode::name,
      CV_CNI_ANSWERS(X)
#undef X
  };
  for (const AnswerCode code : codes) {
    const Answer answer{code, code == AnswerCode::Ok ? "" : "why", Membership::Inside, 7};
    const auto decoded = decode_answer(encode(answer));
    REQUIRE(decoded);
    CHECK(*decoded == answer);
  }
}

TEST_CASE("a malformed request is refused with the place that is wrong") {
  struct Case {
    const char* packet;
    const char* expected;
  };
  const Case cases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[]", "not a JSON object"},
      {"{}", "\"v\" is missing"},
      {R"({"v":"1"})", "\"v\""},
      {R"({"v":1})", "\"type\" is missing"},
      {R"({"v":1,"type":"dance"})", "\"dance\" is not a request"},
      {R"({"v":1,"type":7})", "\"type\""},
      {R"({"v":1,"type":"leave"})", "\"id\" is missing"},
      {R"({"v":1,"type":"leave","id":""})", "\"id\""},
      {R"({"v":1,"type":"leave","id":"../x"})", "\"id\""},
      {R"({"v":1,"type":"leave","id":".x"})", "\"id\""},
      {R"({"v":1,"type":"leave","id":"a\u0000b"})", "\"id\""},
      {R"({"v":1,"type":"eligibility"})", "\"pod\" is missing"},
      {R"({"v":1,"type":"eligibility","pod":[]})", "\"pod\""},
      {R"({"v":1,"type":"eligibility","pod":{"name":"a","namespace":"a/b","service_account":""}})", "\"namespace\""},
      {R"({"v":1,"type":"gc","network":"n","after":"","until":"","valid_ids":"a"})", "\"valid_ids\""},
      {R"({"v":1,"type":"gc","network":"n","after":"","until":"","valid_ids":[1]})", "\"valid_ids\""},
      {R"({"v":1,"type":"gc","network":"n","valid_ids":[]})", "\"after\""},
      {R"({"v":1,"type":"gc","network":"n","after":"","until":"a/b","valid_ids":[]})", "\"until\""},
      {R"({"v":1,"type":"check","id":"a","pod":{"name":"","namespace":"","service_account":""},"enrol":"maybe"})",
       "\"enrol\""},
      {R"({"v":1,"type":"join","id":"a","network":"n","pod":{"name":"","namespace":"","service_account":""},
          "netns_path":"/x","addresses":["10.0.0.256"],"enrol":"ask"})",
       "\"addresses\""},
  };
  for (const Case& item : cases) {
    CAPTURE(item.packet);
    const auto decoded = decode_request(item.packet);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code() == ErrorCode::Protocol);
    CHECK_THAT(decoded.error().message(), Catch::Contains(item.expected));
  }
}

TEST_CASE("another protocol version is told apart from nonsense and names the remedy") {
  const auto decoded = decode_request(R"({"v":2,"type":"status"})");
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code() == ErrorCode::Unsupported);
  CHECK_THAT(decoded.error().message(), Catch::Contains("one release"));
  CHECK(decode_answer(R"({"v":9,"code":"ok"})").error().code() == ErrorCode::Unsupported);
}

TEST_CASE("unknown keys of a newer peer are ignored") {
  CHECK(decode_request(R"({"v":1,"type":"status","colour":"blue"})"));
  CHECK(decode_answer(R"({"v":1,"code":"ok","colour":"blue"})"));
}

TEST_CASE("a message beyond the limit is refused on both sides") {
  const GcRequest request{"pods", std::vector<std::string>(900, std::string(kIdBytesMax, 'a')), "", ""};
  CHECK_FALSE(encode(Request(request)));
  CHECK_FALSE(decode_request(std::string(kMessageBytesMax + 1, ' ')));
}

TEST_CASE("a GC of any number of ids is split into messages that fit, and each pod is the business of exactly one") {
  std::vector<std::string> valid;
  std::vector<std::string> others;
  for (unsigned i = 0; i < 20'000; ++i) {
    valid.push_back(fmt::format("{:x}{}", i * 2'654'435'761U, std::string(i % 117, 'x')));
    others.push_back(valid.back() + "-gone");
  }
  std::vector<std::string> wanted = valid;
  wanted.emplace_back("not/an id");
  const std::vector<GcRequest> requests = split_gc("pods", wanted);
  CHECK(requests.size() > 10);
  std::size_t named = 0;
  for (const GcRequest& request : requests) {
    const auto packet = encode(Request(request));
    REQUIRE(packet);
    CHECK(decode_request(*packet).value() == Request(request));
    named += request.valid_ids.size();
    for (const std::string& id : request.valid_ids) CHECK(request.is_about(id));
  }
  CHECK(named == valid.size());
  for (const std::string& id : others) {
    CHECK(std::ranges::count_if(requests, [&](const GcRequest& request) { return request.is_about(id); }) == 1);
  }
  CHECK(split_gc("pods", {}) == std::vector<GcRequest>{{"pods", {}, "", ""}});
}

TEST_CASE("an answer's text is cut and cleaned rather than refused") {
  const auto decoded =
      decode_answer(encode(Answer{AnswerCode::Failed, std::string(10'000, 'x'), Membership::Unknown, 0}));
  REQUIRE(decoded);
  CHECK(decoded->message.size() == 4096);
  CHECK(decode_answer(encode(Answer{AnswerCode::Failed, "bad \xff byte", Membership::Unknown, 0})));
}

TEST_CASE("ids and names follow their rules") {
  CHECK(is_valid_id("cni-12.a_B"));
  CHECK_FALSE(is_valid_id(""));
  CHECK_FALSE(is_valid_id(".hidden"));
  CHECK_FALSE(is_valid_id("a b"));
  CHECK_FALSE(is_valid_id("a/b"));
  CHECK(is_valid_id(std::string(128, 'a')));
  CHECK_FALSE(is_valid_id(std::string(129, 'a')));
  CHECK(is_valid_name(""));
  CHECK(is_valid_name("kube-system"));
  CHECK_FALSE(is_valid_name(".."));
  CHECK_FALSE(is_valid_name("a\nb"));
}
