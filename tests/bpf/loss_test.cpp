// SPDX-License-Identifier: Apache-2.0
// What joining, settling and leaving do to packets that are on their way: a lost one costs a TCP connection 200 ms (RFC 8985, a tail loss probe).
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

#include "bed.hpp"
#include "core/netns.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

// Numbered datagrams from the pod to its node for as long as it lives, one in some 100 µs. Only tc egress looks at them.
class Stream {
 public:
  explicit Stream(const Bed& bed) {
    constexpr std::uint16_t kPort = 9;
    const int room = 32 << 20;  // bytes: nothing is lost at the receiver
    sockaddr_storage address{};
    const socklen_t length = at(kNodeV4, kPort).to_sockaddr(address);
    {
      const auto guard = NetnsGuard::enter(bed.node.get(), bed.home.get());
      REQUIRE(guard);
      receiver_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      REQUIRE(::setsockopt(receiver_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) == 0);
      REQUIRE(::bind(receiver_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
    }
    {
      const auto guard = NetnsGuard::enter(bed.pod.get(), bed.home.get());
      REQUIRE(guard);
      sender_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      REQUIRE(::connect(sender_.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
    }
    thread_ = std::thread([this] { send(); });
  }
  ~Stream() { stop(); }

  // Lets it run on for a moment, ends it, and counts. At least one datagram was sent.
  [[nodiscard]] std::uint64_t lost() {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop();
    std::uint64_t received = 0;
    std::uint64_t number = 0;
    while (::recv(receiver_.get(), &number, sizeof(number), 0) > 0) ++received;
    REQUIRE(sent_ > 0);
    return sent_ - received;
  }

 private:
  void send() {
    while (!is_stopped_) {
      if (::send(sender_.get(), &sent_, sizeof(sent_), 0) > 0) ++sent_;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  void stop() {
    is_stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }

  UniqueFd receiver_, sender_;
  std::atomic<bool> is_stopped_ = false;
  std::uint64_t sent_ = 0;  // the thread's until it has ended
  std::thread thread_;
};

}  // namespace

TEST_CASE("settling a pod loses no packet") {
  Bed bed("loss-settle");
  if (!bed.agent->capabilities().has_tcx) {
    WARN("does not apply: without tcx nothing is settled");
    return;
  }
  bed.open_listeners();
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  Stream stream(bed);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  REQUIRE(bed.agent->settle_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(stream.lost() == 0);
}

TEST_CASE("a running pod joins, is settled, joins again and leaves, and no packet is lost") {
  Bed bed("loss-join");
  if (!bed.agent->capabilities().has_tcx) {
    WARN("does not apply: without tcx, making a clsact qdisc on a device in use loses some");
    return;
  }
  bed.plan.is_running = true;
  bed.open_listeners();
  Stream stream(bed);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  REQUIRE(bed.agent->settle_pod(bed.plan, bed.pod.get(), bed.home.get()));
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  REQUIRE(bed.agent->stop_capture(bed.plan.slot));
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(stream.lost() == 0);
}
