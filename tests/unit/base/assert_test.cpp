// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"

#include <csignal>
#include <string>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

TEST_CASE("a true invariant costs nothing and is evaluated once") {
  int count = 0;
  CV_ASSERT(++count == 1);
  CHECK(count == 1);
}

TEST_CASE("a broken invariant ends the process with its place on stderr") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGABRT, SIG_DFL);
    ::dup2(ends[1], STDERR_FILENO);
    CV_ASSERT(1 + 1 == 3);
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text(512, '\0');
  const ssize_t got = ::read(ends[0], text.data(), text.size());
  ::close(ends[0]);
  text.resize(static_cast<std::size_t>(got > 0 ? got : 0));
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(text.find("1 + 1 == 3") != std::string::npos);
  CHECK(text.find("assert_test.cpp") != std::string::npos);
}
