// SPDX-License-Identifier: Apache-2.0
#include "core/poller.hpp"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using culvert::Poller;
using culvert::UniqueFd;

TEST_CASE("the poller gives tokens back and its descriptor is not inherited") {
  auto poller = Poller::create();
  REQUIRE(poller);
  CHECK((::fcntl(poller->fd(), F_GETFD) & FD_CLOEXEC) != 0);
  const UniqueFd event(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  std::array<epoll_event, 4> space;
  CHECK(poller->wait(space, 0).empty());
  CHECK(poller->add(event.get(), EPOLLIN, 0xdead'beef'0000'0001U) == 0);
  CHECK(poller->add(event.get(), EPOLLIN, 1) == EEXIST);
  auto events = poller->wait(space, 0);
  REQUIRE(events.size() == 1);
  CHECK(events[0].data.u64 == 0xdead'beef'0000'0001U);
  CHECK(events[0].events == EPOLLIN);
  CHECK(poller->modify(event.get(), EPOLLOUT, 2) == 0);
  events = poller->wait(space, 0);
  REQUIRE(events.size() == 1);
  CHECK(events[0].data.u64 == 2);
  CHECK(events[0].events == EPOLLOUT);
  poller->remove(event.get());
  CHECK(poller->wait(space, 0).empty());
  CHECK(poller->modify(event.get(), EPOLLIN, 3) == ENOENT);
  CHECK(poller->add(-1, EPOLLIN, 4) == EBADF);
}
