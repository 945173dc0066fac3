// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using culvert::UniqueFd;

namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("a descriptor is closed by its owner's end, once, and by nobody else") {
  int number = -1;
  {
    UniqueFd fd(open_null());
    number = fd.get();
    UniqueFd owner(std::move(fd));
    CHECK_FALSE(fd.is_open());  // NOLINT(bugprone-use-after-move)
    CHECK(owner.get() == number);
    CHECK(is_open(number));
  }
  CHECK_FALSE(is_open(number));
}

TEST_CASE("assignment closes what was held; to itself it does nothing") {
  UniqueFd one(open_null());
  UniqueFd two(open_null());
  const int first = one.get();
  const int second = two.get();
  one = std::move(two);
  CHECK_FALSE(is_open(first));
  CHECK(one.get() == second);
  UniqueFd& same = one;
  one = std::move(same);
  CHECK(is_open(second));
}

TEST_CASE("release gives the descriptor away open") {
  UniqueFd fd(open_null());
  const int number = fd.release();
  CHECK_FALSE(static_cast<bool>(fd));
  CHECK(is_open(number));
  ::close(number);
}

TEST_CASE("closing keeps errno") {
  UniqueFd fd(open_null());
  errno = ENOTTY;
  fd.reset();
  CHECK(errno == ENOTTY);
}
