// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <fcntl.h>
#include <catch2/catch.hpp>

#include "control/zds_messages.hpp"
#include "control/zds_session.hpp"
#include "proto/zds.pb.h"

namespace culvert::control {
namespace {

using Kind = ZdsRequest::Kind;
namespace zds = istio::workload::zds;

// Says no to uids in `refused`; remembers what it was told.
class ScriptedTarget final : public ZdsTarget {
 public:
  Result<void> start(const ZdsWorkload& workload, UniqueFd netns) override {
    if (!netns.is_open()) return fail(ErrorCode::InvalidArgument, "no descriptor");
    if (std::ranges::find(refused, workload.uid) != refused.end()) return fail(why, "port taken");
    done.push_back("start " + workload.uid);
    return {};
  }
  void stop(const std::string& uid) override { done.push_back("stop " + uid); }

  std::vector<std::string> refused;
  ErrorCode why = ErrorCode::AlreadyExists;
  std::vector<std::string> done;
};

UniqueFd some_fd() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

struct Bed {
  ScriptedTarget target;
  ZdsSession session{target};

  Result<std::string> add(const std::string& uid, std::uint64_t inode) {
    return session.take({Kind::Add, {uid, "name", "ns", "sa"}}, some_fd(), {1, inode});
  }
  Result<std::string> tell(Kind kind, const std::string& uid = {}) {
    return session.take({kind, {uid, {}, {}, {}}}, {}, {});
  }
};

using Done = std::vector<std::string>;

}  // namespace

TEST_CASE("an AddWorkload with one descriptor becomes a workload") {
  zds::WorkloadRequest message;
  message.mutable_add()->set_uid("u-1");
  message.mutable_add()->mutable_workload_info()->set_name("web");
  message.mutable_add()->mutable_workload_info()->set_namespace_("shop");
  message.mutable_add()->mutable_workload_info()->set_service_account("clerk");
  const auto request = parse_zds_request(message.SerializeAsString(), 1);
  REQUIRE(request);
  CHECK(request->kind == Kind::Add);
  CHECK(request->workload == ZdsWorkload{"u-1", "web", "shop", "clerk"});
  CHECK_FALSE(parse_zds_request(message.SerializeAsString(), 0));
  CHECK_FALSE(parse_zds_request(message.SerializeAsString(), 2));
  message.mutable_add()->clear_workload_info();
  CHECK_FALSE(parse_zds_request(message.SerializeAsString(), 1));
}

TEST_CASE("every other message comes without a descriptor, and what is none of them is an error") {
  for (const int which : {0, 1, 2}) {
    zds::WorkloadRequest message;
    if (which == 0) message.mutable_keep()->set_uid("u");
    if (which == 1) message.mutable_del()->set_uid("u");
    if (which == 2) message.mutable_snapshot_sent();
    CHECK(parse_zds_request(message.SerializeAsString(), 0));
    CHECK_FALSE(parse_zds_request(message.SerializeAsString(), 1));
  }
  CHECK_FALSE(parse_zds_request("", 0));
  CHECK_FALSE(parse_zds_request("\xff\xff", 0));
  CHECK_FALSE(parse_zds_request(std::string(kZdsPacketBytesMax + 1, '\0'), 0));
  zds::WorkloadRequest nameless;
  nameless.mutable_del();
  CHECK_FALSE(parse_zds_request(nameless.SerializeAsString(), 0));
}

TEST_CASE("hello and acks are the bytes that istio-cni reads") {
  CHECK(make_zds_hello() == "\x08\x01");
  CHECK(make_zds_ack("") == std::string("\x0a\x00", 2));
  zds::WorkloadResponse response;
  REQUIRE(response.ParseFromString(make_zds_ack(std::string(5'000, 'x'))));
  CHECK(response.ack().error().size() == kZdsErrorBytesMax);
}

TEST_CASE("the same pod in the same namespace is started once, in another one anew") {
  Bed bed;
  bed.session.connected();
  CHECK(bed.add("a", 7) == "");
  CHECK(bed.add("a", 7) == "");
  CHECK(bed.target.done == Done{"start a"});
  CHECK(bed.add("a", 8) == "");
  CHECK(bed.target.done == Done{"start a", "stop a", "start a"});
}

TEST_CASE("a snapshot drops what it does not name, and keeps what it only says to keep") {
  Bed bed;
  bed.session.connected();
  for (const std::string uid : {"a", "b", "c"}) CHECK(bed.add(uid, 1) == "");
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  bed.session.disconnected();
  CHECK_FALSE(bed.session.is_ready());
  CHECK(bed.session.active() == 3);

  bed.session.connected();
  bed.target.done.clear();
  CHECK(bed.add("a", 1) == "");
  CHECK(bed.tell(Kind::Keep, "b") == "");
  CHECK(bed.tell(Kind::Keep, "stranger") == "");
  CHECK_FALSE(bed.session.is_ready());
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  CHECK(bed.target.done == Done{"stop c"});
  CHECK(bed.session.is_ready());
}

TEST_CASE("a pod that is deleted while the snapshot comes is not kept by it") {
  Bed bed;
  bed.session.connected();
  CHECK(bed.add("a", 1) == "");
  CHECK(bed.tell(Kind::Delete, "a") == "");
  CHECK(bed.tell(Kind::Delete, "unknown") == "");
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  CHECK(bed.target.done == Done{"start a", "stop a"});
  CHECK(bed.session.active() == 0);
}

TEST_CASE("keep and snapshot after the snapshot break the protocol") {
  Bed bed;
  bed.session.connected();
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  CHECK_FALSE(bed.tell(Kind::Keep, "a"));
  CHECK_FALSE(bed.tell(Kind::SnapshotSent));
}

TEST_CASE("a pod that cannot be started is pending, in the ack and in readiness, until it can or goes") {
  Bed bed;
  bed.target.refused = {"a", "b"};
  bed.session.connected();
  CHECK(bed.add("a", 1).value().find("port taken") != std::string::npos);
  CHECK_FALSE(bed.add("b", 2).value().empty());
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  CHECK(bed.session.pending() == 2);
  CHECK_FALSE(bed.session.is_ready());
  CHECK(bed.session.retry());
  bed.target.refused = {"b"};
  CHECK(bed.session.retry());
  CHECK(bed.target.done == Done{"start a"});
  CHECK(bed.tell(Kind::Delete, "b") == "");
  CHECK_FALSE(bed.session.retry());
  CHECK(bed.session.is_ready());
  CHECK(bed.target.done == Done{"start a"});  // what never ran is not stopped
}

TEST_CASE("a pod without a network is refused and tried again, and readiness does not wait for it") {
  Bed bed;
  bed.session.connected();
  bed.target.why = ErrorCode::NotFound;
  bed.target.refused = {"dead"};
  CHECK_FALSE(bed.add("dead", 1).value().empty());
  CHECK(bed.tell(Kind::SnapshotSent) == "");
  CHECK(bed.session.is_ready());
  CHECK(bed.session.pending() == 1);
  SECTION("until it has one") {
    bed.target.refused.clear();
    CHECK_FALSE(bed.session.retry());
    CHECK(bed.session.active() == 1);
  }
  SECTION("or cannot be served for another reason") {
    bed.target.why = ErrorCode::AlreadyExists;
    CHECK(bed.session.retry());
    CHECK_FALSE(bed.session.is_ready());
    CHECK(bed.tell(Kind::Delete, "dead") == "");
  }
  SECTION("or goes") { CHECK(bed.tell(Kind::Delete, "dead") == ""); }
  SECTION("or comes with another sandbox") {
    bed.target.refused.clear();
    CHECK(bed.add("dead", 2).value().empty());
  }
  CHECK(bed.session.is_ready());
  CHECK(bed.session.pending() == 0);
}

TEST_CASE("beyond the limit a pod is refused and is not kept") {
  Bed bed;
  bed.session.connected();
  bed.target.refused = {"x"};
  for (std::size_t i = 0; i < ZdsSession::kPodsMax; ++i) {
    // Descriptors are few: the session keeps one for each.
    static_cast<void>(bed.session.take({Kind::Add, {std::to_string(i), "n", "ns", "sa"}}, {}, {1, i}));
  }
  CHECK_FALSE(bed.add("one more", 1).value().empty());
  CHECK(bed.session.active() + bed.session.pending() == ZdsSession::kPodsMax);
}

}  // namespace culvert::control
