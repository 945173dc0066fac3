// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <catch2/catch.hpp>

#include "enroll/request_handler.hpp"
#include "scripted_service.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using cni::AnswerCode;
using cni::Membership;
using testing::ScriptedService;
using Calls = std::vector<std::string>;

cni::JoinRequest join_request(cni::Enrol enrol = cni::Enrol::Ask) {
  return {.id = "c1",
          .network = "pods",
          .pod = {"cart", "shop", "cart-sa"},
          .netns_path = "/run/netns/a",
          .addresses = {IpAddress::parse("10.1.0.5").value()},
          .enrol = enrol};
}

Packet packet_of(const cni::Request& request, std::size_t descriptors) {
  Packet packet;
  packet.text = cni::encode(request).value();
  for (std::size_t i = 0; i < descriptors; ++i) packet.fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return packet;
}

}  // namespace

TEST_CASE("a join of a pod inside reaches the service with everything that the plugin said") {
  ScriptedService service;
  RequestHandler handler(service);
  const auto outcome = handler.handle(packet_of(join_request(), 1));
  CHECK(outcome.reached_service);
  CHECK(outcome.answer == cni::Answer{AnswerCode::Ok, "", Membership::Inside, 7});
  CHECK(service.calls == Calls{"is_in_mesh shop/cart", "join c1"});
  CHECK(service.has_netns);
  CHECK(service.joined.cni_network == "pods");
  CHECK(service.joined.service_account == "cart-sa");
  CHECK(service.joined.netns_path == "/run/netns/a");
  CHECK(service.joined.addresses.size() == 1);
}

TEST_CASE("a pod that the runtime does not name is judged as what it is joined as") {
  ScriptedService service;
  RequestHandler handler(service);
  cni::JoinRequest request = join_request();
  request.pod = {};
  CHECK(handler.handle(packet_of(request, 1)).answer.code == AnswerCode::Ok);
  CHECK(service.calls == Calls{"is_in_mesh default/c1", "join c1"});
  CHECK(service.joined.namespace_name == "default");
  CHECK(service.joined.service_account == "default");
}

TEST_CASE("a pod outside is not joined, and one not known yet is to try again") {
  ScriptedService service;
  RequestHandler handler(service);
  service.membership = Membership::Outside;
  CHECK(handler.handle(packet_of(join_request(), 1)).answer == cni::Answer{AnswerCode::Ok, "", Membership::Outside, 0});
  service.membership = Membership::Unknown;
  CHECK(handler.handle(packet_of(join_request(), 1)).answer.code == AnswerCode::TryAgain);
  CHECK(service.calls == Calls{"is_in_mesh shop/cart", "is_in_mesh shop/cart"});
}

TEST_CASE("a pod that the plugin has decided about is joined without asking") {
  ScriptedService service;
  service.membership = Membership::Outside;
  RequestHandler handler(service);
  CHECK(handler.handle(packet_of(join_request(cni::Enrol::Always), 1)).answer.slot == 7);
  CHECK(service.calls == Calls{"join c1"});
}

TEST_CASE("a pod without names gets stand-ins") {
  ScriptedService service;
  RequestHandler handler(service);
  auto request = join_request(cni::Enrol::Always);
  request.pod = {};
  CHECK(handler.handle(packet_of(request, 1)).answer.code == AnswerCode::Ok);
  CHECK(service.joined.name == "c1");
  CHECK(service.joined.namespace_name == "default");
  CHECK(service.joined.service_account == "default");
}

TEST_CASE("a wrong number of descriptors never reaches the service") {
  ScriptedService service;
  RequestHandler handler(service);
  for (const std::size_t count : {std::size_t{0}, std::size_t{2}}) {
    const auto outcome = handler.handle(packet_of(join_request(), count));
    CHECK_FALSE(outcome.reached_service);
    CHECK(outcome.answer.code == AnswerCode::BadRequest);
  }
  CHECK(handler.handle(packet_of(cni::LeaveRequest{"c1"}, 1)).answer.code == AnswerCode::BadRequest);
  Packet lost = packet_of(join_request(), 1);
  lost.has_lost_fds = true;
  CHECK(handler.handle(std::move(lost)).answer.code == AnswerCode::BadRequest);
  CHECK(service.calls.empty());
}

TEST_CASE("malformed, cut and foreign packets have their answers") {
  ScriptedService service;
  RequestHandler handler(service);
  Packet packet;
  packet.text = "{";
  CHECK(handler.handle(std::move(packet)).answer.code == AnswerCode::BadRequest);
  packet = packet_of(cni::StatusRequest{}, 0);
  packet.is_truncated = true;
  CHECK(handler.handle(std::move(packet)).answer.code == AnswerCode::BadRequest);
  packet = {};
  packet.text = R"({"v":99,"type":"status"})";
  CHECK(handler.handle(std::move(packet)).answer.code == AnswerCode::UnsupportedVersion);
  CHECK(service.calls.empty());
}

TEST_CASE("each request asks for its own thing") {
  ScriptedService service;
  RequestHandler handler(service);
  CHECK(handler.handle(packet_of(cni::CheckRequest{"c1", {"cart", "shop", ""}, cni::Enrol::Ask}, 0)).answer.code ==
        AnswerCode::Ok);
  CHECK(handler.handle(packet_of(cni::LeaveRequest{"c1"}, 0)).answer.code == AnswerCode::Ok);
  CHECK(handler.handle(packet_of(cni::GcRequest{"pods", {"a", "b"}, "", ""}, 0)).answer.code == AnswerCode::Ok);
  CHECK(handler.handle(packet_of(cni::StatusRequest{}, 0)).answer.code == AnswerCode::Ok);
  CHECK(handler.handle(packet_of(cni::EligibilityRequest{{"cart", "shop", ""}}, 0)).answer.membership ==
        Membership::Inside);
  CHECK(service.calls ==
        Calls{"is_in_mesh shop/cart", "check c1", "leave c1", "gc pods a b", "is_ready", "is_in_mesh shop/cart"});
}

TEST_CASE("the service's errors become answers by their kind") {
  struct Case {
    ErrorCode error;
    AnswerCode join;
    AnswerCode check;
  };
  const Case cases[] = {{ErrorCode::Unavailable, AnswerCode::TryAgain, AnswerCode::TryAgain},
                        {ErrorCode::Timeout, AnswerCode::TryAgain, AnswerCode::TryAgain},
                        {ErrorCode::ResourceExhausted, AnswerCode::TryAgain, AnswerCode::TryAgain},
                        {ErrorCode::InvalidArgument, AnswerCode::BadRequest, AnswerCode::BadRequest},
                        {ErrorCode::NotFound, AnswerCode::Failed, AnswerCode::NotJoined},
                        {ErrorCode::System, AnswerCode::Failed, AnswerCode::Failed},
                        {ErrorCode::AlreadyExists, AnswerCode::Failed, AnswerCode::Failed}};
  for (const Case& item : cases) {
    ScriptedService service;
    service.error = Error(item.error, "because");
    RequestHandler handler(service);
    const auto join = handler.handle(packet_of(join_request(), 1)).answer;
    CHECK(join.code == item.join);
    CHECK(join.message == "because");
    CHECK(handler.handle(packet_of(cni::CheckRequest{"c1", {}, cni::Enrol::Always}, 0)).answer.code == item.check);
  }
}
