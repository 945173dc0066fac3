// SPDX-License-Identifier: Apache-2.0
// Every way in which a file is replaced is seen.
#include "control/file_watch.hpp"

#include <filesystem>

#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "temp_directory.hpp"

namespace culvert::control {
namespace {

namespace fs = std::filesystem;
using test::TempDirectory;
using test::write_file;

constexpr std::uint64_t kPatienceMs = 10'000;

struct Watched {
  explicit Watched(const std::string& path) {
    watch = FileWatch::open(*reactor, path, [this] { ++changes; }).value();
  }
  // Whether something is seen.
  bool sees_change() {
    const int before = changes;
    const std::uint64_t deadline_ms = monotonic_ms() + kPatienceMs;
    while (changes == before && monotonic_ms() < deadline_ms) reactor->turn(50);
    return changes != before;
  }
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  int changes = 0;
  std::unique_ptr<FileWatch> watch;
};

TEST_CASE("the directories that decide a path are those of the file and of each symbolic link") {
  TempDirectory dir;
  const std::string base = fs::canonical(dir.path()).string();
  fs::create_directories(base + "/etc");
  fs::create_directories(base + "/data/v1");
  write_file(base + "/data/v1/node.yaml", "");
  fs::create_directory_symlink("../data/v1", base + "/etc/..data");
  fs::create_symlink("..data/node.yaml", base + "/etc/node.yaml");
  CHECK(deciding_directories(base + "/etc/node.yaml") == std::vector<std::string>{base + "/etc", base + "/data/v1"});
  CHECK(deciding_directories(base + "/data/v1/node.yaml") == std::vector<std::string>{base + "/data/v1"});
  CHECK(deciding_directories(base + "/absent/node.yaml") == std::vector<std::string>{base});
  fs::create_symlink("loop", base + "/loop");
  CHECK(deciding_directories(base + "/loop") == std::vector<std::string>{base});
}

TEST_CASE("a file written in place is seen") {
  TempDirectory dir;
  write_file(dir / "a.yaml", "1");
  Watched watched(dir / "a.yaml");
  write_file(dir / "a.yaml", "2");
  CHECK(watched.sees_change());
}

TEST_CASE("a file renamed over another is seen, again and again") {
  TempDirectory dir;
  write_file(dir / "a.yaml", "1");
  Watched watched(dir / "a.yaml");
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    test::replace_file(dir / "a.yaml", std::to_string(i));
    CHECK(watched.sees_change());
  }
}

TEST_CASE("a file that appears later is seen, also in a directory that was not there") {
  TempDirectory dir;
  Watched watched(dir / "etc/a.yaml");
  fs::create_directory(dir / "etc");
  CHECK(watched.sees_change());
  write_file(dir / "etc/a.yaml", "1");
  CHECK(watched.sees_change());
}

TEST_CASE("a Kubernetes volume's swap of its data link is seen, again and again") {
  TempDirectory dir;
  const auto publish = [&dir](const std::string& version) {
    fs::create_directory(dir / ("..v" + version));
    write_file(dir / ("..v" + version + "/node.yaml"), version);
    fs::create_directory_symlink("..v" + version, dir / "..data_tmp");
    fs::rename(dir / "..data_tmp", dir / "..data");
  };
  publish("1");
  fs::create_symlink("..data/node.yaml", dir / "node.yaml");
  Watched watched(dir / "node.yaml");
  for (const std::string version : {"2", "3"}) {
    CAPTURE(version);
    publish(version);
    CHECK(watched.sees_change());
  }
}

TEST_CASE("the target of a link is seen when it is written") {
  TempDirectory dir;
  fs::create_directory(dir / "real");
  write_file(dir / "real/a.yaml", "1");
  fs::create_symlink("real/a.yaml", dir / "a.yaml");
  Watched watched(dir / "a.yaml");
  write_file(dir / "real/a.yaml", "2");
  CHECK(watched.sees_change());
}

TEST_CASE("a directory that is replaced by another of the same name is followed") {
  TempDirectory dir;
  fs::create_directory(dir / "etc");
  fs::create_directory_symlink("etc", dir / "link");
  write_file(dir / "etc/a.yaml", "1");
  Watched watched(dir / "link/a.yaml");
  fs::rename(dir / "etc", dir / "old");
  fs::create_directory(dir / "etc");
  CHECK(watched.sees_change());
  write_file(dir / "etc/a.yaml", "2");
  CHECK(watched.sees_change());
}

TEST_CASE("several events at once are one change") {
  TempDirectory dir;
  write_file(dir / "a.yaml", "1");
  Watched watched(dir / "a.yaml");
  for (int i = 0; i < 20; ++i) write_file(dir / "a.yaml", std::to_string(i));
  CHECK(watched.sees_change());
  CHECK(watched.changes == 1);
}

}  // namespace
}  // namespace culvert::control
