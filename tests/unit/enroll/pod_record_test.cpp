// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "enroll/pod_record.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;

PodRecord record() {
  PodRecord made;
  made.spec = {.id = "c1",
               .name = "cart",
               .namespace_name = "shop",
               .service_account = "cart-sa",
               .netns_path = "/run/netns/a",
               .addresses = {IpAddress::parse("10.1.0.5").value(), IpAddress::parse("fd00::5").value()},
               .excluded_ports = {{22, true}, {9000, false}},
               .excluded_cidrs = {{Cidr::parse("10.0.0.0/8").value(), false}},
               .bypass_inbound = true,
               .answer_syn = AnswerSyn::AfterConnect,
               .cni_network = "pods",
               .is_from_file = true};
  made.slot = 7;
  made.netns_cookie = 0xffff'ffff'ffff'fff0ULL;  // beyond what a double holds
  made.netns_id = {.device = 4, .inode = 4'026'532'000};
  made.is_leaving = true;
  return made;
}

}  // namespace

TEST_CASE("a pod's record survives encoding and decoding") {
  const PodRecord before = record();
  const auto after = decode_pod_record(encode(before));
  REQUIRE(after);
  CHECK(encode(*after) == encode(before));
  CHECK(after->netns_cookie == before.netns_cookie);
  CHECK(after->netns_id == before.netns_id);
  CHECK(after->spec.addresses == before.spec.addresses);
  CHECK(after->spec.excluded_ports.size() == 2);
  CHECK(after->spec.excluded_ports[0].is_inbound);
  CHECK(after->spec.excluded_cidrs.at(0).cidr.to_string() == "10.0.0.0/8");
  CHECK(after->spec.answer_syn == AnswerSyn::AfterConnect);
  CHECK(after->spec.cni_network == "pods");
  CHECK(after->spec.is_from_file);
  CHECK(after->is_leaving);
}

TEST_CASE("a record without a word of its own is one that agents of before read") {
  PodRecord before = record();
  before.spec.answer_syn.reset();
  const std::string text = encode(before);
  CHECK(text.find("answer_syn") == std::string::npos);
  const auto after = decode_pod_record(text);
  REQUIRE(after);
  CHECK_FALSE(after->spec.answer_syn);
}

TEST_CASE("a record that a crash or a hand has spoilt is refused") {
  const std::string good = encode(record());
  CHECK_FALSE(decode_pod_record(""));
  CHECK_FALSE(decode_pod_record(good.substr(0, good.size() / 2)));
  struct Case {
    const char* from;
    const char* to;
  };
  for (const Case& item :
       {Case{"\"slot\": 7", "\"slot\": 0"}, Case{"\"slot\": 7", "\"slot\": -1"},
        Case{"\"version\": 1", "\"version\": 2"}, Case{"10.1.0.5", "10.1.0"}, Case{"10.0.0.0/8", "10.0.0.0/80"},
        Case{"9000", "90000"}, Case{"\"c1\"", "\"../c1\""}, Case{"\"/run/netns/a\"", "\"\""},
        Case{"\"inbound\": true", "\"inbound\": 1"}, Case{"after_connect", "sometimes"}}) {
    CAPTURE(item.from, item.to);
    std::string text = good;
    const auto place = text.find(item.from);
    REQUIRE(place != std::string::npos);
    text.replace(place, std::string_view(item.from).size(), item.to);
    CHECK_FALSE(decode_pod_record(text));
  }
}

TEST_CASE("a spec outside its limits is refused with the value in the text") {
  struct Case {
    const char* what;
    void (*spoil)(PodSpec&);
    const char* expected;
  };
  const Case cases[] = {
      {"id", [](PodSpec& spec) { spec.id = "a/b"; }, "a/b"},
      {"name", [](PodSpec& spec) { spec.name = ""; }, "name"},
      {"namespace", [](PodSpec& spec) { spec.namespace_name = "shop/x"; }, "shop/x"},
      {"service account", [](PodSpec& spec) { spec.service_account = ".."; }, "service account"},
      {"netns", [](PodSpec& spec) { spec.netns_path = "netns/a"; }, "absolute"},
      {"loopback", [](PodSpec& spec) { spec.addresses = {IpAddress::parse("127.0.0.1").value()}; }, "127.0.0.1"},
      {"unspecified", [](PodSpec& spec) { spec.addresses = {IpAddress()}; }, "::"},
      {"many", [](PodSpec& spec) { spec.addresses.assign(17, IpAddress::parse("10.0.0.1").value()); }, "17"},
  };
  CHECK(validate(record().spec));
  for (const Case& item : cases) {
    CAPTURE(item.what);
    PodSpec spec = record().spec;
    item.spoil(spec);
    const auto valid = validate(spec);
    REQUIRE_FALSE(valid);
    CHECK(valid.error().code() == ErrorCode::InvalidArgument);
    CHECK_THAT(valid.error().message(), Catch::Contains(item.expected));
  }
}
