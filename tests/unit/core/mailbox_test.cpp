// SPDX-License-Identifier: Apache-2.0
#include "core/mailbox.hpp"

#include <memory>
#include <thread>

#include <poll.h>

#include <catch2/catch.hpp>

using culvert::Mailbox;

namespace {

bool is_readable(int fd, int timeout_ms) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
}

}  // namespace

TEST_CASE("messages arrive in order and wake the owner") {
  Mailbox<int> mailbox(10);
  REQUIRE(mailbox.open());
  CHECK_FALSE(is_readable(mailbox.fd(), 0));
  CHECK(mailbox.post(1));
  CHECK(mailbox.post(2));
  CHECK(is_readable(mailbox.fd(), 0));
  std::vector<int> got;
  mailbox.drain([&](int message) { got.push_back(message); });
  CHECK(got == std::vector<int>{1, 2});
  CHECK_FALSE(is_readable(mailbox.fd(), 0));
}

TEST_CASE("a full mailbox refuses, and takes messages again when it was drained") {
  Mailbox<std::unique_ptr<int>> mailbox(2);
  REQUIRE(mailbox.open());
  CHECK(mailbox.post(std::make_unique<int>(1)));
  CHECK(mailbox.post(std::make_unique<int>(2)));
  CHECK_FALSE(mailbox.post(std::make_unique<int>(3)));
  int sum = 0;
  mailbox.drain([&](std::unique_ptr<int> message) { sum += *message; });
  CHECK(sum == 3);
  CHECK(mailbox.post(std::make_unique<int>(4)));
}

TEST_CASE("a message that must not be lost comes in whether or not there is room, in its order, and counts") {
  Mailbox<int> mailbox(1);
  REQUIRE(mailbox.open());
  CHECK(mailbox.post(1));
  mailbox.post_always(2);
  CHECK_FALSE(mailbox.post(3));
  std::vector<int> got;
  mailbox.drain([&](int message) { got.push_back(message); });
  CHECK(got == std::vector<int>{1, 2});
  mailbox.post_always(4);
  CHECK(is_readable(mailbox.fd(), 0));
}

TEST_CASE("a message that is posted while draining waits for the next drain, and wakes for it") {
  Mailbox<int> mailbox(10);
  REQUIRE(mailbox.open());
  CHECK(mailbox.post(1));
  int count = 0;
  mailbox.drain([&](int) {
    ++count;
    CHECK(mailbox.post(2));
  });
  CHECK(count == 1);
  CHECK(is_readable(mailbox.fd(), 0));
}

TEST_CASE("nothing is lost between two threads") {
  constexpr int kMessages = 20'000;
  Mailbox<int> mailbox(64);
  REQUIRE(mailbox.open());
  std::thread sender([&] {
    for (int i = 0; i < kMessages; ++i) {
      while (!mailbox.post(i)) std::this_thread::yield();
    }
  });
  int expected = 0;
  bool is_ordered = true;
  while (expected < kMessages && is_readable(mailbox.fd(), 10'000)) {
    mailbox.drain([&](int message) { is_ordered = is_ordered && message == expected++; });
  }
  sender.join();
  CHECK(is_ordered);
  CHECK(expected == kMessages);
}
