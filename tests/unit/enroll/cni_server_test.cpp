// SPDX-License-Identifier: Apache-2.0
// The server on a real socket: the test is its client and turns its reactor.
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "core/seqpacket.hpp"
#include "enroll/cni_server.hpp"
#include "scripted_service.hpp"
#include "temp_dir.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using cni::Answer;
using cni::AnswerCode;
using testing::ScriptedService;
using testing::TempDir;

struct Bench {
  explicit Bench(CniServer::Options options = {}) {
    options.socket_path = dir.path("run/cni.sock");
    options.allowed_uid = allowed_uid(options);
    options.on_refusal = [this](const std::string& text) { refusals.push_back(text); };
    reactor = Reactor::create().value();
    server = CniServer::open(std::move(options), *reactor, service).value();
  }
  // Tests that do not name another uid run as whoever runs them.
  static uid_t allowed_uid(const CniServer::Options& options) {
    return options.allowed_uid == 0 ? ::getuid() : options.allowed_uid;
  }

  [[nodiscard]] UniqueFd connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = dir.path("run/cni.sock");
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
  }
  // Turns the loop until an answer or the end is there; nullopt: closed.
  std::optional<Answer> answer_on(const UniqueFd& fd) {
    for (int turns = 0; turns < 200; ++turns) {
      Packet packet;
      const ReceiveStatus status = receive_packet(fd.get(), cni::kMessageBytesMax, packet);
      if (status == ReceiveStatus::Closed) return std::nullopt;
      if (status == ReceiveStatus::Packet) return cni::decode_answer(packet.text).value();
      reactor->turn(20);
    }
    FAIL("no answer");
    return std::nullopt;
  }
  std::optional<Answer> ask(const std::string& text) {
    const UniqueFd fd = connect();
    REQUIRE(send_packet(fd.get(), text));
    return answer_on(fd);
  }

  TempDir dir;
  ScriptedService service;
  std::unique_ptr<Reactor> reactor;
  std::unique_ptr<CniServer> server;
  std::vector<std::string> refusals;
};

std::string status_packet() { return cni::encode(cni::Request(cni::StatusRequest())).value(); }

bool send_with_fds(int socket, const std::string& text, std::size_t count) {
  iovec span{const_cast<char*>(text.data()), text.size()};
  char control[CMSG_SPACE(8 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &span;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (std::size_t i = 0; i < count; ++i) {
    const int fd = null.get();
    std::memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

const cni::JoinRequest kJoin{.id = "c1",
                             .network = "pods",
                             .pod = {"a", "b", "c"},
                             .netns_path = "/x",
                             .addresses = {},
                             .enrol = cni::Enrol::Always};

}  // namespace

TEST_CASE("the socket is for root's eyes and its directory is made") {
  const Bench bench;
  struct stat status{};
  REQUIRE(::stat(bench.dir.path("run/cni.sock").c_str(), &status) == 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK((status.st_mode & 0777U) == 0600);
}

TEST_CASE("a request is answered, and a second one on the same connection too") {
  Bench bench;
  const UniqueFd fd = bench.connect();
  for (int i = 0; i < 2; ++i) {
    REQUIRE(send_packet(fd.get(), status_packet()));
    CHECK(bench.answer_on(fd)->code == AnswerCode::Ok);
  }
  CHECK(bench.server->counters().requests == 2);
  CHECK(bench.server->connections() == 1);
}

TEST_CASE("a namespace's descriptor arrives with its join") {
  Bench bench;
  const UniqueFd fd = bench.connect();
  REQUIRE(send_with_fds(fd.get(), cni::encode(cni::Request(kJoin)).value(), 1));
  CHECK(bench.answer_on(fd)->slot == 7);
  CHECK(bench.service.has_netns);
}

TEST_CASE("wrong descriptors are refused and leak nothing") {
  Bench bench;
  const std::size_t before = open_descriptors();
  for (const std::size_t count : {2U, 8U}) {
    const UniqueFd fd = bench.connect();
    REQUIRE(send_with_fds(fd.get(), cni::encode(cni::Request(kJoin)).value(), count));
    CHECK(bench.answer_on(fd)->code == AnswerCode::BadRequest);
  }
  CHECK(bench.ask(cni::encode(cni::Request(kJoin)).value())->code == AnswerCode::BadRequest);
  for (int i = 0; i < 4; ++i) bench.reactor->turn(1);
  CHECK(open_descriptors() == before);
  CHECK(bench.service.calls.empty());
}

TEST_CASE("malformed, oversized and foreign requests have defined answers and are reported") {
  Bench bench;
  CHECK(bench.ask("{")->code == AnswerCode::BadRequest);
  CHECK(bench.ask(std::string(cni::kMessageBytesMax + 1, ' '))->code == AnswerCode::BadRequest);
  CHECK(bench.ask(R"({"v":2,"type":"status"})")->code == AnswerCode::UnsupportedVersion);
  CHECK(bench.refusals.size() == 3);
  CHECK(bench.server->counters().refusals == 3);
  CHECK(bench.server->counters().requests == 0);
}

TEST_CASE("a peer that is not root is denied") {
  CniServer::Options options;
  options.allowed_uid = ::getuid() + 1;
  Bench bench(std::move(options));
  const auto answer = bench.answer_on(bench.connect());
  REQUIRE(answer);
  CHECK(answer->code == AnswerCode::Denied);
  CHECK(bench.server->connections() == 0);
}

TEST_CASE("connections beyond the limit are told to try again") {
  CniServer::Options options;
  options.connections_max = 2;
  Bench bench(std::move(options));
  const UniqueFd first = bench.connect();
  const UniqueFd second = bench.connect();
  const UniqueFd third = bench.connect();
  CHECK(bench.answer_on(third)->code == AnswerCode::TryAgain);
  REQUIRE(send_packet(first.get(), status_packet()));
  CHECK(bench.answer_on(first)->code == AnswerCode::Ok);
}

TEST_CASE("without descriptors connections wait, nothing spins, and they are served once there are some") {
  Bench bench;
  const UniqueFd first = bench.connect();
  const UniqueFd second = bench.connect();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const rlimit none{static_cast<rlim_t>(next.get()), before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const std::uint64_t end_ms = monotonic_ms() + 250;
  unsigned turns = 0;
  for (; monotonic_ms() < end_ms; ++turns) bench.reactor->turn(20);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(turns < 50);
  CHECK(bench.refusals.size() >= 2);
  CHECK(bench.server->connections() == 0);
  for (const UniqueFd* fd : {&first, &second}) {
    REQUIRE(send_packet(fd->get(), status_packet()));
    CHECK(bench.answer_on(*fd)->code == AnswerCode::Ok);
  }
}

TEST_CASE("a client that says nothing is closed after the idle time") {
  CniServer::Options options;
  options.idle_timeout_ms = 30;
  Bench bench(std::move(options));
  const UniqueFd fd = bench.connect();
  CHECK_FALSE(bench.answer_on(fd));
  CHECK(bench.server->connections() == 0);
  CHECK(bench.refusals.size() == 1);
}

TEST_CASE("a client that goes away leaves nothing behind") {
  Bench bench;
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    const UniqueFd fd = bench.connect();
    if (i % 2 == 0) REQUIRE(send_packet(fd.get(), status_packet()));
  }
  for (int i = 0; i < 10; ++i) bench.reactor->turn(5);
  CHECK(bench.server->connections() == 0);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a client that never reads is closed and holds nobody up") {
  Bench bench;
  const UniqueFd deaf = bench.connect();
  for (int i = 0; i < 5'000 && bench.refusals.empty(); ++i) {
    if (!send_packet(deaf.get(), status_packet())) bench.reactor->turn(0);
    if (i > 10 && bench.server->connections() == 0) break;
  }
  CHECK(bench.ask(status_packet())->code == AnswerCode::Ok);
}

TEST_CASE("sixty clients at once are all answered") {
  Bench bench;
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 60; ++i) clients.push_back(bench.connect());
  for (const UniqueFd& fd : clients) REQUIRE(send_with_fds(fd.get(), cni::encode(cni::Request(kJoin)).value(), 1));
  for (const UniqueFd& fd : clients) CHECK(bench.answer_on(fd)->slot == 7);
  CHECK(bench.service.calls.size() == 60);
}

TEST_CASE("a stale socket is replaced, a live one and a file are not") {
  const TempDir dir;
  ScriptedService service;
  const auto reactor = Reactor::create().value();
  CniServer::Options options;
  options.socket_path = dir.path("cni.sock");
  { const UniqueFd dead = listen_seqpacket(options.socket_path, 1).value(); }
  REQUIRE(std::filesystem::exists(options.socket_path));
  auto server = CniServer::open(options, *reactor, service);
  REQUIRE(server);
  const auto second = CniServer::open(options, *reactor, service);
  REQUIRE_FALSE(second);
  CHECK_THAT(second.error().message(), Catch::Contains("an agent answers"));
  server->reset();
  CHECK_FALSE(std::filesystem::exists(options.socket_path));
  testing::spill(options.socket_path, "");
  CHECK_FALSE(CniServer::open(options, *reactor, service));
}
