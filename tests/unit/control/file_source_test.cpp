// SPDX-License-Identifier: Apache-2.0
// Reloading: what changes, what stays when the file is wrong, and what waits for a restart.
#include "control/file_source.hpp"

#include <filesystem>

#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "temp_directory.hpp"

namespace culvert::control {
namespace {

using test::replace_file;
using test::TempDirectory;
using test::write_file;

constexpr std::uint64_t kPatienceMs = 10'000;

struct World {
  explicit World(std::string_view text) {
    write_file(path, text);
    open(load_config(path).value());
  }
  void open(Config running) {
    FileSource::Callbacks callbacks;
    callbacks.changed = [this](const Config& config, std::shared_ptr<const state::Snapshot> snapshot) {
      configs.push_back(config);
      snapshots.push_back(std::move(snapshot));
    };
    callbacks.failed = [this](const Error& error) { failures.push_back(error.message()); };
    callbacks.restart_needed = [this](const std::vector<std::string>& keys) { restarts.push_back(keys); };
    source = FileSource::open(*reactor, path, std::move(running), std::move(callbacks)).value();
  }
  template <typename Condition>
  bool wait_for(Condition condition) {
    const std::uint64_t deadline_ms = monotonic_ms() + kPatienceMs;
    while (!condition() && monotonic_ms() < deadline_ms) reactor->turn(50);
    return condition();
  }
  // Long enough for a change to be noticed, were there one: a second file in the same directory is the witness.
  void let_settle() {
    const std::string witness = dir / "witness.yaml";
    bool is_seen = false;
    const auto watch = FileWatch::open(*reactor, witness, [&is_seen] { is_seen = true; }).value();
    write_file(witness, "x");
    REQUIRE(wait_for([&is_seen] { return is_seen; }));
    reactor->turn(static_cast<int>(FileWatch::kSettleMs) * 2);
  }

  TempDirectory dir;
  std::string path = dir / "node.yaml";
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  std::vector<Config> configs;
  std::vector<std::shared_ptr<const state::Snapshot>> snapshots;
  std::vector<std::string> failures;
  std::vector<std::vector<std::string>> restarts;
  std::unique_ptr<FileSource> source;
};

constexpr std::string_view kOne = "mesh: {workloads: [{name: a, addresses: [10.0.0.1]}]}\n";
constexpr std::string_view kTwo =
    "mesh: {workloads: [{name: a, addresses: [10.0.0.1]}, {name: b, addresses: [10.0.0.2]}]}\n";

TEST_CASE("the first snapshot comes from inside open, once") {
  World world(kOne);
  REQUIRE(world.snapshots.size() == 1);
  CHECK(world.snapshots[0]->version() == 1);
  CHECK(world.snapshots[0]->workload_count() == 1);
  CHECK(world.failures.empty());
}

TEST_CASE("a file that changed between the agent's reading and the watch is taken") {
  World world(kOne);
  world.source.reset();
  write_file(world.path, kTwo);
  world.snapshots.clear();
  world.open(parse_config(kOne, "f").value());
  REQUIRE(world.snapshots.size() == 2);
  CHECK(world.snapshots[1]->workload_count() == 2);
}

TEST_CASE("a changed file gives a new snapshot by itself") {
  World world(kOne);
  replace_file(world.path, kTwo);
  REQUIRE(world.wait_for([&] { return world.snapshots.size() == 2; }));
  CHECK(world.snapshots[1]->version() == 2);
  CHECK(world.snapshots[1]->workload_count() == 2);
  CHECK(world.snapshots[0]->workload_count() == 1);
  CHECK(world.source->config().mesh.workloads.size() == 2);
}

TEST_CASE("a wrong file is reported once, and the old configuration stays") {
  World world(kOne);
  replace_file(world.path, "mesh: {workload: []}\n");
  REQUIRE(world.wait_for([&] { return world.failures.size() == 1; }));
  CHECK_THAT(world.failures[0],
             Catch::Contains("node.yaml:1:8: mesh: unknown key \"workload\"; did you mean workloads?"));
  CHECK(world.source->config().mesh.workloads.size() == 1);
  replace_file(world.path, "mesh: {workload: []}\n");
  world.let_settle();
  CHECK(world.failures.size() == 1);
  CHECK(world.snapshots.size() == 1);

  SECTION("and it is taken when it is right again") {
    replace_file(world.path, kTwo);
    CHECK(world.wait_for([&] { return world.snapshots.size() == 2; }));
  }
  SECTION("and the return to what is in force changes nothing, but the next mistake is reported") {
    replace_file(world.path, kOne);
    world.let_settle();
    CHECK(world.snapshots.size() == 1);
    replace_file(world.path, "mesh: {workload: []}\n");
    CHECK(world.wait_for([&] { return world.failures.size() == 2; }));
  }
}

TEST_CASE("a file that is removed is reported once, and taken when it is back") {
  World world(kOne);
  std::filesystem::remove(world.path);
  REQUIRE(world.wait_for([&] { return world.failures.size() == 1; }));
  CHECK_THAT(world.failures[0], Catch::Contains("No such file"));
  world.let_settle();
  CHECK(world.failures.size() == 1);
  write_file(world.path, kTwo);
  CHECK(world.wait_for([&] { return world.snapshots.size() == 2; }));
}

TEST_CASE("a file that is emptied is taken for a mistake, however it is read") {
  World world(kOne);
  replace_file(world.path, "\n");
  REQUIRE(world.wait_for([&] { return world.failures.size() == 1; }));
  CHECK_THAT(world.failures[0], Catch::Contains("node.yaml: the file is empty"));
  world.source->reload();
  CHECK(world.failures.size() == 2);
  CHECK(world.source->config().mesh.workloads.size() == 1);
  replace_file(world.path, "{}\n");
  CHECK(world.wait_for([&] { return world.source->config().mesh.workloads.empty(); }));
}

TEST_CASE("comments change nothing") {
  World world(kOne);
  replace_file(world.path, "# a comment\n" + std::string(kOne));
  world.let_settle();
  CHECK(world.snapshots.size() == 1);
}

TEST_CASE("reload reads the file at once and always answers") {
  World world(kOne);
  world.source->reload();
  CHECK(world.snapshots.size() == 2);
  write_file(world.path, "mesh: 3\n");
  world.source->reload();
  world.source->reload();
  CHECK(world.failures.size() == 2);
}

TEST_CASE("what needs a restart is named, and keeps its value until then") {
  World world("node_name: a\ntrust_domain: one\n");
  write_file(world.path, "node_name: a\ntrust_domain: two\nbpf: {mark: 9}\nlog: {level: debug}\n");
  world.source->reload();
  REQUIRE(world.restarts.size() == 1);
  CHECK(world.restarts[0] == std::vector<std::string>{"trust_domain", "bpf.mark"});
  const Config& config = world.configs.back();
  CHECK(config.trust_domain == "one");
  CHECK(config.bpf.mark == Config{}.bpf.mark);
  CHECK(config.log.level == telemetry::Level::Debug);
  world.source->reload();
  CHECK(world.restarts.size() == 1);
  write_file(world.path, "node_name: a\ntrust_domain: one\n");
  world.source->reload();
  CHECK(world.restarts.size() == 1);
}

TEST_CASE("this node's own pods join the snapshot, and unchanged ones make none") {
  World world(kOne);
  state::Workload pod;
  pod.uid = "shop/web";
  pod.addresses = {IpAddress::parse("10.0.0.9").value()};
  world.source->set_local_workloads({pod});
  REQUIRE(world.snapshots.size() == 2);
  CHECK(world.snapshots[1]->find(pod.addresses[0]) != nullptr);
  world.source->set_local_workloads({pod});
  CHECK(world.snapshots.size() == 2);
  world.source->reload();
  REQUIRE(world.snapshots.size() == 3);
  CHECK(world.snapshots[2]->find(pod.addresses[0]) != nullptr);
  CHECK(world.snapshots[2]->version() == 3);
}

TEST_CASE("without a file only the node's own pods make snapshots") {
  World world("");
  world.source.reset();
  world.snapshots.clear();
  world.path.clear();
  world.open(default_config().value());
  CHECK(world.snapshots.size() == 1);
  world.source->reload();
  CHECK(world.snapshots.size() == 1);
  CHECK(world.failures.empty());
}

// LOCAL_XDS_PATH for as long as it lives.
struct LocalFile {
  LocalFile(const std::string& path, std::string_view text) : path_(path) {
    write_file(path, text);
    ::setenv("LOCAL_XDS_PATH", path.c_str(), 1);
  }
  ~LocalFile() { ::unsetenv("LOCAL_XDS_PATH"); }
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;
  void replace(std::string_view text) const { replace_file(path_, text); }

 private:
  std::string path_;
};

constexpr std::string_view kLocal = "workloads: [{name: x, namespace: lab, workloadIps: [10.0.0.7]}]\n";
constexpr std::string_view kLocalTwo =
    "workloads: [{name: x, namespace: lab, workloadIps: [10.0.0.7]}, {name: y, namespace: lab}]\n";

TEST_CASE("the file of LOCAL_XDS_PATH is followed beside the configuration") {
  TempDirectory dir;
  const LocalFile local(dir / "local.yaml", kLocal);
  World world(kOne);
  REQUIRE(world.snapshots.size() == 1);
  CHECK(world.snapshots[0]->workload_count() == 2);
  local.replace(kLocalTwo);
  REQUIRE(world.wait_for([&] { return world.snapshots.size() == 2; }));
  CHECK(world.configs[1].local->workloads.size() == 2);
  CHECK(world.snapshots[1]->workload_count() == 3);
  replace_file(world.path, kTwo);
  REQUIRE(world.wait_for([&] { return world.snapshots.size() == 3; }));
  CHECK(world.snapshots[2]->workload_count() == 4);
}

TEST_CASE("it is followed where there is no configuration file") {
  TempDirectory dir;
  const LocalFile local(dir / "local.yaml", kLocal);
  World world("");
  world.source.reset();
  world.snapshots.clear();
  world.path.clear();
  world.open(default_config().value());
  REQUIRE(world.snapshots.size() == 1);
  local.replace(kLocalTwo);
  REQUIRE(world.wait_for([&] { return world.snapshots.size() == 2; }));
  world.source->reload();
  CHECK(world.snapshots.size() == 3);
  CHECK(world.failures.empty());
}

TEST_CASE("of a local file that is wrong, empty or gone nothing is taken over; the error says which file and what") {
  TempDirectory dir;
  const LocalFile local(dir / "local.yaml", kLocal);
  World world(kOne);
  struct Row {
    const char* text;  // null: removed
    const char* error;
  };
  for (const Row row : {Row{"workloads: [{name: x, namespace: lab, workloadIps: [nowhere]}]",
                            R"(local.yaml: workloads[0].workloadIps has "nowhere", which means nothing there)"},
                        Row{"workloads: [{", "local.yaml: line 1: not YAML"},
                        Row{" \n", "local.yaml: the file is empty; write {} where it shall say nothing"},
                        Row{"workloads: [{name: z, namespace: lab, workloadIps: [10.0.0.1]}]",
                            "address 10.0.0.1 of workload lab/z belongs to workload default/a"},
                        Row{nullptr, "local.yaml"}}) {
    const std::size_t before = world.failures.size();
    if (row.text != nullptr) {
      local.replace(row.text);
    } else {
      std::filesystem::remove(dir / "local.yaml");
    }
    REQUIRE(world.wait_for([&] { return world.failures.size() == before + 1; }));
    CHECK_THAT(world.failures.back(), Catch::Contains(row.error));
    CHECK(world.snapshots.size() == 1);
    CHECK(world.source->config().local->workloads.size() == 1);
  }
  local.replace("{}");
  REQUIRE(world.wait_for([&] { return world.snapshots.size() == 2; }));
  CHECK(world.snapshots[1]->workload_count() == 1);
}

}  // namespace
}  // namespace culvert::control
