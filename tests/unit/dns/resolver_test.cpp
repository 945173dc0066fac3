// SPDX-License-Identifier: Apache-2.0
// The resolver against a real server: dnsmasq on a loopback port of its own, which answers out of a hosts file.
#include "dns/resolver.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <utility>

#include <arpa/inet.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace culvert::dns {
namespace {

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

// A UDP port that was free a moment ago.
std::uint16_t free_port() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.sin_port);
}

class Dnsmasq {
 public:
  explicit Dnsmasq(int ttl_s = 1, const std::vector<std::string>& further = {}) {
    char pattern[] = "/tmp/culvert-dns-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    write("192.0.2.1 db.example\n2001:db8::1 db.example\n192.0.2.9 four.example\n");
    // The port may be somebody's by now, or its TCP side; dnsmasq then ends at once.
    for (int tries = 0; tries < 5 && process_ == 0; ++tries) start(ttl_s, further);
    REQUIRE(process_ != 0);
  }
  ~Dnsmasq() {
    stop();
    ::unlink((directory_ + "/hosts").c_str());
    ::rmdir(directory_.c_str());
  }
  Dnsmasq(const Dnsmasq&) = delete;
  Dnsmasq& operator=(const Dnsmasq&) = delete;

  void write(const std::string& text) { std::ofstream(directory_ + "/hosts") << text; }
  void reread() const { ::kill(process_, SIGHUP); }
  void stop() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(std::exchange(process_, 0), nullptr, 0);
  }
  [[nodiscard]] std::string servers() const { return fmt::format("127.0.0.1:{}", port_); }

 private:
  void start(int ttl_s, const std::vector<std::string>& further) {
    port_ = free_port();
    const std::string port = fmt::format("--port={}", port_);
    const std::string ttl = fmt::format("--local-ttl={}", ttl_s);
    const std::string hosts = "--addn-hosts=" + directory_ + "/hosts";
    std::vector<const char*> arguments = {"dnsmasq",           "--keep-in-foreground", "--conf-file=/dev/null",
                                          "--no-resolv",       "--no-hosts",           "--listen-address=127.0.0.1",
                                          "--bind-interfaces", "--local=/example/",    ttl.c_str(),
                                          "--pid-file=",       "--user=root",          "--log-facility=/dev/null",
                                          port.c_str(),        hosts.c_str()};
    for (const std::string& one : further) arguments.push_back(one.c_str());
    arguments.push_back(nullptr);
    REQUIRE(::posix_spawnp(&process_, "dnsmasq", nullptr, nullptr, const_cast<char* const*>(arguments.data()),
                           environ) == 0);
    for (int waits = 0; waits < 1'000 && !takes_tcp(); ++waits) {
      if (has_ended()) return;
      ::usleep(10'000);
    }
    ::usleep(50'000);
    (void)has_ended();
  }
  bool has_ended() {
    if (::waitpid(process_, nullptr, WNOHANG) == 0) return false;
    process_ = 0;
    return true;
  }
  [[nodiscard]] bool takes_tcp() const {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }

  std::uint16_t port_ = 0;
  std::string directory_;
  pid_t process_ = 0;
};

struct Bed {
  explicit Bed(const std::string& servers, std::uint64_t timeout_ms = 5'000)
      : reactor(Reactor::create().value()),
        resolver(std::make_unique<Resolver>(*reactor, Resolver::Options{servers, timeout_ms})) {}

  std::vector<IpAddress> ask(const std::string& name) {
    std::optional<std::vector<IpAddress>> answer;
    resolver->resolve(name, [&](const std::vector<IpAddress>& addresses) { answer = addresses; });
    while (!answer) reactor->turn(1'000);
    return *answer;
  }
  // Until the answer is this one; a server that is just starting is waited for.
  bool comes_to(const std::string& name, const std::vector<IpAddress>& wanted) {
    const std::uint64_t deadline_ms = monotonic_ms() + 30'000;
    while (monotonic_ms() < deadline_ms) {
      auto got = ask(name);
      std::ranges::sort(got);
      if (got == wanted) return true;
      reactor->turn(50);
    }
    return false;
  }

  std::unique_ptr<Reactor> reactor;
  std::unique_ptr<Resolver> resolver;
};

}  // namespace

TEST_CASE("a name has the addresses of both families, and a changed answer is followed") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("db.example", {ip("192.0.2.1"), ip("2001:db8::1")}));
  CHECK(bed.ask("four.example") == std::vector{ip("192.0.2.9")});
  server.write("192.0.2.2 db.example\n");
  server.reread();
  CHECK(bed.comes_to("db.example", {ip("192.0.2.2")}));
}

TEST_CASE("a name that does not exist has no address, and is not asked for again at once") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.9")}));
  CHECK(bed.ask("none.example").empty());
  server.stop();
  const std::uint64_t before_ms = monotonic_ms();
  CHECK(bed.ask("none.example").empty());
  CHECK(monotonic_ms() - before_ms < 1'000);
}

TEST_CASE("those who ask for one name at one time are answered together") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.9")}));
  int answers = 0;
  for (int i = 0; i < 100; ++i)
    bed.resolver->resolve("db.example", [&](const std::vector<IpAddress>& got) { answers += got.empty() ? 0 : 1; });
  while (answers < 100) bed.reactor->turn(1'000);
  CHECK(answers == 100);
}

TEST_CASE("an answer that is too long for UDP comes by TCP") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.9")}));
  std::string hosts;
  for (int i = 1; i <= 100; ++i) hosts += fmt::format("192.0.2.{} long.example\n", i);
  server.write(hosts + "192.0.2.10 four.example\n");
  server.reread();
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.10")}));
  CHECK(bed.ask("long.example").size() == 100);
}

TEST_CASE("loopback and unspecified addresses are left out") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.9")}));
  server.write(
      "127.0.0.1 trap.example\n::1 trap.example\n0.0.0.0 trap.example\n127.0.0.2 half.example\n192.0.2.9 "
      "half.example\n");
  server.reread();
  REQUIRE(bed.comes_to("half.example", {ip("192.0.2.9")}));
  CHECK(bed.ask("trap.example").empty());
  CHECK(bed.ask("localhost").empty());
}

TEST_CASE("an alias holds no longer than its own TTL, however long the address behind it does") {
  Dnsmasq server(200, {"--cname=alias.example,four.example,1"});
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("alias.example", {ip("192.0.2.9")}));
  server.write("192.0.2.10 four.example\n");
  server.reread();
  CHECK(bed.comes_to("alias.example", {ip("192.0.2.10")}));
}

TEST_CASE("an answer's callback may ask for the next name") {
  Dnsmasq server;
  Bed bed(server.servers());
  REQUIRE(bed.comes_to("four.example", {ip("192.0.2.9")}));
  std::optional<std::vector<IpAddress>> second;
  bed.resolver->resolve("none.example", [&](const std::vector<IpAddress>&) {
    bed.resolver->resolve("db.example", [&](const std::vector<IpAddress>& addresses) { second = addresses; });
  });
  while (!second) bed.reactor->turn(1'000);
  CHECK(second->size() == 2);
}

TEST_CASE("a server that is away costs the time limit and no more") {
  UniqueFd silent(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  REQUIRE(::bind(silent.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  Bed bed(fmt::format("127.0.0.1:{}", ntohs(address.sin_port)), 300);
  const std::uint64_t before_ms = monotonic_ms();
  CHECK(bed.ask("db.example").empty());
  const std::uint64_t took_ms = monotonic_ms() - before_ms;
  CHECK(took_ms >= 300);
  CHECK(took_ms < 5'000);
  // The question is still out: who asks now gets a time limit of their own.
  CHECK(bed.ask("db.example").empty());
  bed.resolver.reset();
}

TEST_CASE("a name that cannot be one is not asked for") {
  Bed bed("127.0.0.1:9");
  CHECK(bed.ask("").empty());
  CHECK(bed.ask(std::string(254, 'a')).empty());
}

}  // namespace culvert::dns
