// SPDX-License-Identifier: Apache-2.0
// Every command against a scripted agent, and without one.
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "culvert/cni/mesh_file.hpp"
#include "scripted_agent.hpp"

namespace {

using namespace culvert;
using namespace culvert::testing;
using cni::Answer;
using cni::AnswerCode;
using cni::Membership;
using nlohmann::json;

auto always(const Answer& answer) {
  return [text = cni::encode(answer)](const Received&) { return std::optional<std::string>(text); };
}

Answer inside() { return {AnswerCode::Ok, "", Membership::Inside, 3}; }
Answer outside() { return {AnswerCode::Ok, "", Membership::Outside, 0}; }

unsigned code_of(const cni_plugin::Output& output) {
  CAPTURE(output.text);
  CHECK(output.exit_code == 1);
  const auto error = json::parse(output.text);
  CHECK(error.at("cniVersion").is_string());
  CHECK_FALSE(error.at("msg").get<std::string>().empty());
  return error.at("code").get<unsigned>();
}

void write_mesh_file(const TempDir& dir, const cni::MeshFile& file) {
  std::ofstream(dir.path("mesh.json")) << cni::encode(file);
}

bool has_tombstone(const TempDir& dir) { return std::filesystem::exists(dir.path("state/tombstones/c1")); }

}  // namespace

TEST_CASE("ADD joins through the agent and passes prevResult on byte for byte") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always(inside()));
  const auto output = run_plugin(call_of("ADD", dir));
  CHECK(output.exit_code == 0);
  CHECK(output.text == std::string(kPrevResult) + "\n");
  const auto& received = agent.finish();
  REQUIRE(received.size() == 1);
  CHECK(received[0].descriptors == 1);
  const auto request = cni::decode_request(received[0].text);
  REQUIRE(request);
  const auto& join = std::get<cni::JoinRequest>(*request);
  CHECK(join.id == "c1");
  CHECK(join.network == "pods");
  CHECK(join.pod == cni::PodName{"cart", "shop", "default"});
  CHECK(join.netns_path == "/proc/self/ns/net");
  REQUIRE(join.addresses.size() == 1);
  CHECK(join.addresses[0].to_string() == "10.1.0.5");
  CHECK(join.enrol == cni::Enrol::Ask);
}

TEST_CASE("ADD of a pod that the agent wants outside passes prevResult on") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always(outside()));
  CHECK(run_plugin(call_of("ADD", dir)).text == std::string(kPrevResult) + "\n");
}

TEST_CASE("enrol all tells the agent not to decide") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always(inside()));
  CHECK(run_plugin(call_of("ADD", dir, R"("enrol":"all","default_service_account":"robot")")).exit_code == 0);
  const auto request = cni::decode_request(agent.finish().at(0).text);
  REQUIRE(request);
  CHECK(std::get<cni::JoinRequest>(*request).enrol == cni::Enrol::Always);
  CHECK(std::get<cni::JoinRequest>(*request).pod.service_account == "robot");
}

TEST_CASE("ADD of a pod that may be inside fails with try again later while the agent is away") {
  const TempDir dir;
  const std::uint64_t start = monotonic_ms();
  CHECK(code_of(run_plugin(call_of("ADD", dir))) == 11);  // no mesh file: nothing is known
  CHECK(code_of(run_plugin(call_of("ADD", dir, R"("enrol":"all")"))) == 11);
  write_mesh_file(dir, {false, {"shop"}, {}, {}});
  CHECK(code_of(run_plugin(call_of("ADD", dir))) == 11);
  CHECK(monotonic_ms() - start < 5'000);
}

TEST_CASE("ADD of a pod that is certainly outside does not need the agent") {
  const TempDir dir;
  CHECK(run_plugin(call_of("ADD", dir, R"("exclude_namespaces":["shop"])")).text == std::string(kPrevResult) + "\n");
  CHECK(run_plugin(call_of("ADD", dir, R"("enrol":"none")")).exit_code == 0);
  write_mesh_file(dir, {false, {"bank"}, {}, {}});
  const std::uint64_t start = monotonic_ms();
  auto call = call_of("ADD", dir);
  call.config.replace(call.config.find("\"agent_wait_ms\":0"), 17, "\"agent_wait_ms\":3000");
  CHECK(run_plugin(call).text == std::string(kPrevResult) + "\n");
  CHECK(monotonic_ms() - start < 1'000);  // it did not wait for the agent either
}

TEST_CASE("ADD waits a little for an agent that is being restarted") {
  const TempDir dir;
  auto call = call_of("ADD", dir);
  call.config.replace(call.config.find("\"agent_wait_ms\":0"), 17, "\"agent_wait_ms\":3000");
  cni_plugin::Output output;
  std::thread runtime([&] { output = run_plugin(call); });
  std::this_thread::sleep_for(std::chrono::milliseconds(120));  // the agent's absence, not a wait for a condition
  ScriptedAgent agent(dir.path("cni.sock"), always(inside()));
  runtime.join();
  CHECK(output.exit_code == 0);
}

TEST_CASE("the agent's answers become the specification's errors") {
  struct Case {
    Answer answer;
    const char* command;
    unsigned code;
  };
  const Case cases[] = {
      {{AnswerCode::TryAgain, "starting", Membership::Unknown, 0}, "ADD", 11},
      {{AnswerCode::Failed, "cannot attach to eth0", Membership::Inside, 0}, "ADD", 100},
      {{AnswerCode::BadRequest, "what", Membership::Unknown, 0}, "ADD", 100},
      {{AnswerCode::UnsupportedVersion, "v9", Membership::Unknown, 0}, "ADD", 102},
      {{AnswerCode::Denied, "uid 7", Membership::Unknown, 0}, "ADD", 102},
      {{AnswerCode::Ok, "", Membership::Unknown, 0}, "ADD", 100},  // an agent that says neither
      {{AnswerCode::NotJoined, "no hooks", Membership::Inside, 0}, "CHECK", 101},
      {{AnswerCode::Failed, "broken", Membership::Inside, 0}, "CHECK", 100},
      {{AnswerCode::TryAgain, "starting", Membership::Unknown, 0}, "STATUS", 50},
      {{AnswerCode::Failed, "no bpf", Membership::Unknown, 0}, "GC", 100},
  };
  for (const Case& item : cases) {
    CAPTURE(item.command, item.code);
    const TempDir dir;
    ScriptedAgent agent(dir.path("cni.sock"), always(item.answer));
    const auto output = run_plugin(call_of(item.command, dir, R"("cni.dev/valid-attachments":[])"));
    CHECK(code_of(output) == item.code);
    CHECK_THAT(output.text, Catch::Contains(item.answer.message));
  }
}

TEST_CASE("an agent that answers nonsense or not at all never lets a pod through") {
  struct Case {
    std::optional<std::string> answer;
    unsigned code;
  };
  const Case cases[] = {{std::nullopt, 11},
                        {"{", 102},
                        {R"({"v":7,"code":"ok"})", 102},
                        {R"({"v":1,"code":"fine"})", 102},
                        {R"({"v":1})", 102}};
  for (const Case& item : cases) {
    const TempDir dir;
    ScriptedAgent agent(dir.path("cni.sock"), [&item](const Received&) { return item.answer; });
    CHECK(code_of(run_plugin(call_of("ADD", dir))) == item.code);
  }
}

TEST_CASE("an agent that hangs is given up within five seconds") {
  const TempDir dir;
  UniqueFd release;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ScriptedAgent agent(dir.path("cni.sock"), [&](const Received&) -> std::optional<std::string> {
    char byte = 0;
    [[maybe_unused]] const auto got = ::read(reader.get(), &byte, 1);
    return std::nullopt;
  });
  const std::uint64_t start = monotonic_ms();
  CHECK(code_of(run_plugin(call_of("ADD", dir))) == 11);
  const std::uint64_t elapsed = monotonic_ms() - start;
  CHECK(elapsed >= 4'000);
  CHECK(elapsed < 5'000);
  writer.reset();
}

TEST_CASE("a try-again answer does not hold up a pod that is certainly outside") {
  const TempDir dir;
  write_mesh_file(dir, {false, {"bank"}, {}, {}});
  ScriptedAgent agent(dir.path("cni.sock"), always({AnswerCode::TryAgain, "full", Membership::Unknown, 0}));
  CHECK(run_plugin(call_of("ADD", dir)).exit_code == 0);
}

TEST_CASE("DEL tells the agent and says nothing") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always({}));
  const auto output = run_plugin(call_of("DEL", dir));
  CHECK(output.exit_code == 0);
  CHECK(output.text.empty());
  const auto& received = agent.finish();
  REQUIRE(received.size() == 1);
  CHECK(std::get<cni::LeaveRequest>(*cni::decode_request(received[0].text)).id == "c1");
  CHECK_FALSE(has_tombstone(dir));
}

TEST_CASE("DEL succeeds without an agent, a namespace or a usable configuration") {
  const TempDir dir;
  auto call = call_of("DEL", dir);
  call.variables.erase("CNI_NETNS");
  call.variables.erase("CNI_IFNAME");
  CHECK(run_plugin(call).exit_code == 0);
  CHECK(has_tombstone(dir));
  CHECK(run_plugin(call).exit_code == 0);  // and again
}

TEST_CASE("DEL succeeds when the agent fails, and leaves a note") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always({AnswerCode::Failed, "busy", Membership::Unknown, 0}));
  CHECK(run_plugin(call_of("DEL", dir)).exit_code == 0);
  CHECK(has_tombstone(dir));
}

TEST_CASE("DEL of a pod that was outside leaves no note") {
  const TempDir dir;
  CHECK(run_plugin(call_of("DEL", dir, R"("exclude_namespaces":["shop"])")).exit_code == 0);
  CHECK_FALSE(has_tombstone(dir));
}

TEST_CASE("DEL succeeds when no note can be left") {
  const TempDir dir;
  std::ofstream(dir.path("state")) << "a file where the directory should be";
  CHECK(run_plugin(call_of("DEL", dir)).exit_code == 0);
}

TEST_CASE("CHECK asks the agent, and passes for pods outside") {
  const TempDir dir;
  {
    ScriptedAgent agent(dir.path("cni.sock"), always(inside()));
    const auto output = run_plugin(call_of("CHECK", dir));
    CHECK(output.exit_code == 0);
    CHECK(output.text.empty());
    CHECK(std::holds_alternative<cni::CheckRequest>(*cni::decode_request(agent.finish().at(0).text)));
  }
  std::filesystem::remove(dir.path("cni.sock"));
  CHECK(code_of(run_plugin(call_of("CHECK", dir))) == 11);
  CHECK(run_plugin(call_of("CHECK", dir, R"("enrol":"none")")).exit_code == 0);
}

TEST_CASE("GC names the containers that stay") {
  const TempDir dir;
  ScriptedAgent agent(dir.path("cni.sock"), always({}));
  const auto output =
      run_plugin(call_of("GC", dir, R"("cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"}])"));
  CHECK(output.exit_code == 0);
  CHECK(output.text.empty());
  const auto request = cni::decode_request(agent.finish().at(0).text);
  REQUIRE(request);
  CHECK(std::get<cni::GcRequest>(*request) == cni::GcRequest{"pods", {"c2"}, "", ""});
}

TEST_CASE("GC without a list removes nothing") {
  const TempDir dir;
  CHECK(code_of(run_plugin(call_of("GC", dir))) == 7);
}

TEST_CASE("STATUS is good when the agent is ready, and says how bad it is when not") {
  const TempDir dir;
  {
    ScriptedAgent agent(dir.path("cni.sock"), always({}));
    const auto output = run_plugin(call_of("STATUS", dir));
    CHECK(output.exit_code == 0);
    CHECK(output.text.empty());
  }
  std::filesystem::remove(dir.path("cni.sock"));
  CHECK(code_of(run_plugin(call_of("STATUS", dir))) == 51);
  CHECK(run_plugin(call_of("STATUS", dir, R"("enrol":"none")")).exit_code == 0);
}
