// SPDX-License-Identifier: Apache-2.0
// The log from end to end: threads on one side, a pipe, socket or file on the other.
#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "telemetry/log.hpp"

namespace culvert::telemetry {
namespace {

struct Channel {
  UniqueFd reader;
  UniqueFd writer;
};

Channel make_pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Channel make_socket() {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Everything until every writing end is closed.
std::string read_all(int fd) {
  std::string all;
  std::array<char, 65'536> part;
  while (true) {
    const ssize_t got = ::read(fd, part.data(), part.size());
    if (got <= 0) return all;
    all.append(part.data(), static_cast<std::size_t>(got));
  }
}

std::unique_ptr<Log> start(int fd, Level level = Level::Info) {
  auto log = Log::start(
      {.filter = {.level = level}, .format = Format::Plain, .access_log = true, .fd = fd, .queue_bytes = 256 * 1024});
  REQUIRE(log);
  return std::move(*log);
}

long lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

}  // namespace

TEST_CASE("every line of several threads is written before the log is gone") {
  for (auto channel : {make_pipe, make_socket}) {
    auto [reader, writer] = channel();
    auto log = start(writer.get());
    std::string text;
    std::thread reading([&] { text = read_all(reader.get()); });
    std::vector<std::thread> threads;
    std::atomic<long> accepted{0};
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        ConnectionLog connection;
        for (int i = 0; i < 2'000; ++i) {
          if (log->connection(connection)) ++accepted;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    log->info("the last of {}", 1);
    log.reset();
    writer.reset();
    reading.join();
    CHECK(lines_of(text) == accepted + 1);
    CHECK(text.ends_with("\tinfo\tculvert\tthe last of 1\n"));
  }
}

TEST_CASE("a reader that stopped never stalls a caller: lines are dropped, counted, and messages keep some room") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get());
  ConnectionLog connection;
  connection.source.workload = std::string(200, 'w');
  const std::uint64_t started = monotonic_ms();
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) refused += log->connection(connection) ? 0 : 1;
  CHECK(refused > 15'000);
  const std::uint64_t dropped = log->dropped();
  CHECK(dropped == static_cast<std::uint64_t>(refused));
  log->warn("a message still fits");
  CHECK(log->dropped() == dropped);
  CHECK(monotonic_ms() - started < 30'000);

  SECTION("and when it reads again, what was accepted arrives") {
    std::string text;
    std::thread reading([&] { text = read_all(reader.get()); });
    log.reset();
    writer.reset();
    reading.join();
    CHECK(lines_of(text) == 20'000 - refused + 1);
  }
  SECTION("and if it never does, the end of the process waits a second and no more") {
    const std::uint64_t before = monotonic_ms();
    log.reset();
    const std::uint64_t waited = monotonic_ms() - before;
    CHECK(waited >= 900);
    CHECK(waited < 20'000);
  }
}

TEST_CASE("a reader that went away costs lines and nothing else") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get());
  reader.reset();
  for (int i = 0; i < 100; ++i) log->info("nobody reads line {}", i);
  log.reset();
  SUCCEED("no signal, no hang");
}

TEST_CASE("a line is on its way at once when the log was idle") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get());
  for (int i = 0; i < 3; ++i) {
    log->info("line {}", i);
    pollfd event{.fd = reader.get(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&event, 1, 20'000) == 1);
    std::array<char, 512> text;
    REQUIRE(::read(reader.get(), text.data(), text.size()) > 0);
  }
}

TEST_CASE("the level decides what is written and can be changed") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get(), Level::Warn);
  log->info("unseen");
  log->debug("unseen");
  ConnectionLog connection;
  CHECK(log->connection(connection));
  connection.reason = CloseReason::PolicyDenied;
  CHECK(log->connection(connection));
  log->set_filter({.level = Level::Debug});
  log->debug("seen");
  log->set_filter({.level = Level::Debug, .access = Level::Off});
  CHECK_FALSE(log->has_access_log());
  CHECK(log->connection(connection));
  log->set_filter({.level = Level::Off, .access = Level::Info});
  log->error("unseen");
  CHECK(log->has_access_log());
  log.reset();
  writer.reset();
  const std::string text = read_all(reader.get());
  CHECK(lines_of(text) == 2);
  CHECK(text.find("unseen") == std::string::npos);
  CHECK(text.find("connection closed due to policy rejection") != std::string::npos);
}

TEST_CASE("opened connections are told of where access lines have level debug, and nowhere else") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get(), Level::Info);
  const auto tell = [&log](std::uint16_t port) {
    ConnectionLog connection;
    connection.source.address = Endpoint{IpAddress::parse("10.1.0.5").value(), port};
    CHECK(log->connection_opened(connection));
    return log->tells_opened();
  };
  CHECK_FALSE(tell(1001));
  log->set_filter({.level = Level::Debug, .access = Level::Info});
  CHECK_FALSE(tell(1002));
  log->set_filter({.level = Level::Off, .access = Level::Debug});
  CHECK(tell(1003));
  log->set_filter({.level = Level::Debug});
  CHECK(tell(1004));
  log.reset();
  writer.reset();
  const std::string text = read_all(reader.get());
  CHECK(lines_of(text) == 2);
  CHECK(text.find(":1003 ") < text.find(":1004 "));
}

TEST_CASE("questions to DNS are told of where that scope, or everything, has level debug") {
  auto [reader, writer] = make_pipe();
  auto log = start(writer.get(), Level::Info);
  log->dns({"w", "n", "A", "unseen", "success"});
  log->set_filter({.level = Level::Debug, .dns = Level::Info});
  log->dns({"w", "n", "A", "unseen", "success"});
  log->set_filter({.level = Level::Off, .dns = Level::Debug});
  log->dns({"w", "n", "A", "first", "success"});
  log->set_filter({.level = Level::Debug});
  log->dns({"w", "n", "A", "second", "success"});
  log.reset();
  writer.reset();
  const std::string text = read_all(reader.get());
  CHECK(lines_of(text) == 2);
  CHECK(text.find("\"first\"") < text.find("\"second\""));
  CHECK(text.find("unseen") == std::string::npos);
}

TEST_CASE("a file takes the log, and the descriptor that was given stays as it was") {
  std::array<char, 32> name{"/tmp/culvert-log-test-XXXXXX"};
  UniqueFd file(::mkstemp(name.data()));
  REQUIRE(file);
  ::unlink(name.data());
  auto log = start(file.get());
  log->error("on disk");
  log.reset();
  CHECK((::fcntl(file.get(), F_GETFL) & O_NONBLOCK) == 0);
  REQUIRE(::lseek(file.get(), 0, SEEK_SET) == 0);
  CHECK(read_all(file.get()).ends_with("\terror\tculvert\ton disk\n"));
}

TEST_CASE("a descriptor that is not open is refused with its number") {
  const auto log = Log::start({.fd = 9'999});
  REQUIRE_FALSE(log);
  CHECK(log.error().message().find("9999") != std::string::npos);
}

}  // namespace culvert::telemetry
