// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "core/netns.hpp"
#include "enroll/netns_probe.hpp"
#include "test_netns.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::TestNetns;

NetnsContent read(const TestNetns& netns) {
  const UniqueFd home = open_current_netns().value();
  return read_netns(netns.open().get(), home.get()).value();
}

std::vector<std::string> texts(const std::vector<IpAddress>& addresses) {
  std::vector<std::string> result;
  for (const IpAddress& address : addresses) result.push_back(address.to_string());
  return result;
}

}  // namespace

TEST_CASE("a namespace's devices and global addresses are found, IPv4 first") {
  const TestNetns netns({"fd00::5/64", "10.1.0.5/24", "169.254.3.4/16"});
  netns.ip("link set lo up");
  netns.ip("link add net1 type bridge");
  const NetnsContent content = read(netns);
  CHECK(content.devices == std::vector<std::string>{"eth0", "net1"});
  CHECK(texts(content.addresses) == std::vector<std::string>{"10.1.0.5", "fd00::5"});
}

TEST_CASE("a namespace is found by its path, told from another of the same name, and missed when it is gone") {
  const TestNetns first;
  const TestNetns second;
  const UniqueFd fd = first.open();
  const NetnsId id = netns_id(fd.get()).value();
  const std::uint64_t cookie = netns_cookie(fd.get()).value();
  CHECK(find_netns(first.path(), id, cookie));
  CHECK(find_netns(second.path(), id, cookie).error().code() == ErrorCode::NotFound);
  CHECK(find_netns(first.path(), id, cookie + 1).error().code() == ErrorCode::NotFound);
  CHECK(find_netns("/run/netns/cvenr-none", id, cookie).error().code() == ErrorCode::NotFound);
}

TEST_CASE("a namespace whose path is gone is found through a process that lives in it") {
  TestNetns netns;
  const UniqueFd fd = netns.open();
  const NetnsId id = netns_id(fd.get()).value();
  const std::uint64_t cookie = netns_cookie(fd.get()).value();
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_in = ::setns(fd.get(), CLONE_NEWNET) == 0;
    [[maybe_unused]] const auto told = ::write(ready[1], is_in ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  REQUIRE(::read(ready[0], &answer, 1) == 1);
  CHECK(answer == 'y');
  netns.remove();
  CHECK(find_netns(netns.path(), id, cookie));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(find_netns(netns.path(), id, cookie).error().code() == ErrorCode::NotFound);
  ::close(ready[0]);
  ::close(ready[1]);
}
