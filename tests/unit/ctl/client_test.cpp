// SPDX-License-Identifier: Apache-2.0
// culvertctl's client and commands against a real admin server with a fake agent, and against nobody.
#include <atomic>
#include <string>
#include <thread>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "../admin/fake_provider.hpp"
#include "admin/server.hpp"
#include "ctl/client.hpp"
#include "ctl/commands.hpp"

namespace culvert::ctl {
namespace {

std::string temporary_directory() {
  char name[] = "/tmp/culvert-ctl-test-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  return name;
}

// An admin server in a thread of its own, which stands for the agent's control thread.
struct Agent {
  std::string directory = temporary_directory();
  std::string path = directory + "/admin.sock";
  admin::FakeProvider provider;
  std::atomic<bool> is_stopping{false};
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  std::unique_ptr<admin::Server> server =
      admin::Server::start({.socket_path = path, .metrics = {}, .readiness = {}}, *reactor, provider).value();
  std::thread thread;

  void run() {
    thread = std::thread([this] {
      while (!is_stopping) reactor->turn(10);
    });
  }
  ~Agent() {
    is_stopping = true;
    if (thread.joinable()) thread.join();
    server.reset();
    ::rmdir(directory.c_str());
  }
  CommonOptions options() const { return {.socket_path = path, .as_json = false, .terminal = {}}; }
};

}  // namespace

TEST_CASE("the client reads, joins and leaves") {
  Agent agent;
  agent.provider.status_answer.node = "a";
  agent.provider.join_answer->id = "n1";
  agent.run();
  Client client(agent.path);
  const auto status = client.get("/v1/status");
  REQUIRE(status);
  CHECK(status->find("\"node\":\"a\"") != std::string::npos);
  CHECK(client.post("/v1/pods", R"({"netns":"/run/netns/n1"})").has_value());
  CHECK(client.remove("/v1/pods/" + Client::segment("a b/c")).has_value());
  CHECK(agent.provider.joined.at(0).netns_path == "/run/netns/n1");
  CHECK(agent.provider.left.at(0) == "a b/c");
}

TEST_CASE("the agent's refusal is told in its own words") {
  Agent agent;
  agent.provider.join_answer = fail(ErrorCode::AlreadyExists, "pod x is joined from another namespace");
  agent.run();
  Client client(agent.path);
  const auto refused = client.post("/v1/pods", R"({"netns":"/a"})");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::AlreadyExists);
  CHECK(refused.error().message() == "pod x is joined from another namespace");
  // "Try again later" is an answer as well: not to be mixed up with nobody answering.
  agent.provider.join_answer = fail(ErrorCode::Unavailable, "draining");
  CHECK(client.post("/v1/pods", R"({"netns":"/a"})").error().code() != ErrorCode::Unavailable);
}

TEST_CASE("where nobody answers, the path and the remedy are named") {
  const std::string directory = temporary_directory();
  const auto missing = Client(directory + "/none.sock").get("/v1/status");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::Unavailable);
  CHECK_THAT(missing.error().message(), Catch::Contains(directory + "/none.sock") && Catch::Contains("No such file") &&
                                            Catch::Contains("--socket"));

  const std::string path = directory + "/left.sock";
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const UniqueFd abandoned(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(abandoned.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  const auto abandoned = Client(path).get("/v1/status");
  REQUIRE_FALSE(abandoned);
  CHECK(abandoned.error().code() == ErrorCode::Unavailable);
  CHECK_THAT(abandoned.error().message(), Catch::Contains("left its socket behind"));
  ::unlink(path.c_str());
  ::rmdir(directory.c_str());
}

TEST_CASE("exit codes tell done, refused and unreachable apart") {
  {
    Agent agent;
    agent.provider.pods_answer.resize(1);
    agent.provider.pods_answer[0].id = "p1";
    agent.provider.leave_answer = fail(ErrorCode::System, "stuck");
    agent.run();
    CHECK(run_status(agent.options()) == kExitOk);
    CHECK(run_drops(agent.options(), true) == kExitOk);
    CHECK(run_connections(agent.options(), "x", false) == kExitOk);
    CHECK(run_join(agent.options(), {.netns = "/a",
                                     .id = "",
                                     .name = "",
                                     .namespace_name = "",
                                     .service_account = "",
                                     .addresses = {"10.0.0.1"},
                                     .answer_syn = ""}) == kExitOk);
    CHECK(run_join(agent.options(), {.netns = "/a",
                                     .id = "",
                                     .name = "",
                                     .namespace_name = "",
                                     .service_account = "",
                                     .addresses = {"ten"},
                                     .answer_syn = ""}) == kExitFailed);
    CHECK(run_leave(agent.options(), "p1") == kExitFailed);
    CHECK(run_leave(agent.options(), "p2") == kExitFailed);
    CHECK(agent.provider.left == std::vector<std::string>{"p1"});
    CHECK(run_log_level(agent.options(), "debug") == kExitOk);
    CHECK(run_log_level(agent.options(), "loud") == kExitFailed);
  }
  const CommonOptions nobody{.socket_path = "/nonexistent/admin.sock", .as_json = false, .terminal = {}};
  CHECK(run_status(nobody) == kExitUnreachable);
  CHECK(run_connections(nobody, "", true) == kExitUnreachable);
  CHECK(run_leave(nobody, "p1") == kExitUnreachable);
}

TEST_CASE("a namespace may be given by any path, and becomes an absolute one") {
  CHECK(netns_path("/run/netns/../netns/a") == "/run/netns/a");
  CHECK(netns_path("./relative").starts_with('/'));
  CHECK(netns_path("no-such-name").ends_with("/no-such-name"));
}

}  // namespace culvert::ctl
