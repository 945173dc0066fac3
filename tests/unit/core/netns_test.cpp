// SPDX-License-Identifier: Apache-2.0
// Entering and leaving network namespaces; needs root.
#include "core/netns.hpp"

#include <atomic>
#include <csignal>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "root_fixture.hpp"

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

namespace {

NetnsId current_id() { return *netns_id(open_current_netns()->get()); }

}  // namespace

TEST_CASE("the guard switches the thread, and back at the end of the scope") {
  const UniqueFd pod = test::make_netns();
  const auto home = open_current_netns();
  REQUIRE(home);
  const NetnsId home_id = *netns_id(home->get());
  const NetnsId pod_id = *netns_id(pod.get());
  CHECK_FALSE(home_id == pod_id);
  {
    auto guard = NetnsGuard::enter(pod.get(), home->get());
    REQUIRE(guard);
    CHECK(current_id() == pod_id);
    const NetnsGuard moved(std::move(*guard));
    CHECK(current_id() == pod_id);
  }
  CHECK(current_id() == home_id);
}

TEST_CASE("other threads stay where they are") {
  const UniqueFd pod = test::make_netns();
  const auto home = open_current_netns();
  const NetnsId home_id = current_id();
  std::atomic<bool> is_inside{false};
  NetnsId other;
  std::thread bystander([&] {
    is_inside.wait(false);
    other = current_id();
  });
  {
    const auto guard = NetnsGuard::enter(pod.get(), home->get());
    is_inside = true;
    is_inside.notify_one();
    bystander.join();
    CHECK(guard.has_value());
  }
  CHECK(other == home_id);
}

TEST_CASE("entering what is no network namespace fails and stays home") {
  const auto home = open_current_netns();
  const NetnsId before = current_id();
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto guard = NetnsGuard::enter(file.get(), home->get());
  REQUIRE_FALSE(guard);
  CHECK(guard.error().sys_errno() == EINVAL);
  CHECK(current_id() == before);
}

TEST_CASE("a guard that cannot return ends the process") {
  const UniqueFd pod = test::make_netns();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGABRT, SIG_DFL);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, STDERR_FILENO);
    { const auto guard = NetnsGuard::enter(pod.get(), null); }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
}

TEST_CASE("paths that are not network namespaces are refused") {
  const auto missing = open_netns("/run/netns/culvert-no-such-namespace");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::NotFound);
  for (const char* path : {"/dev/null", "/etc/passwd", "/", "/proc/self/ns/mnt", "/proc/self/ns/uts"}) {
    CAPTURE(path);
    const auto refused = open_netns(path);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::InvalidArgument);
    CHECK(refused.error().message().find(path) != std::string::npos);
  }
  const std::string fifo = std::filesystem::temp_directory_path() / ("culvert-fifo-" + std::to_string(::getpid()));
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_FALSE(open_netns(fifo));  // and it does not wait for a writer
  ::unlink(fifo.c_str());
}

TEST_CASE("a namespace is the same by every path, and its descriptor is not inherited") {
  const auto one = open_netns("/proc/self/ns/net");
  const auto two = open_current_netns();
  REQUIRE(one);
  REQUIRE(two);
  CHECK(*netns_id(one->get()) == *netns_id(two->get()));
  CHECK((::fcntl(one->get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK_FALSE(netns_id(-1));
}

TEST_CASE("cookies tell namespaces apart and asking for one does not leave the thread there") {
  const UniqueFd pod = test::make_netns();
  const UniqueFd other = test::make_netns();
  const auto home = open_current_netns();
  const NetnsId before = current_id();
  const auto pod_cookie = netns_cookie(pod.get());
  REQUIRE(pod_cookie);
  CHECK(*pod_cookie != 0);
  CHECK(*pod_cookie == *netns_cookie(pod.get()));
  CHECK(*pod_cookie != *netns_cookie(other.get()));
  CHECK(*pod_cookie != *netns_cookie(home->get()));
  CHECK(current_id() == before);
  CHECK_FALSE(netns_cookie(-1));
}
