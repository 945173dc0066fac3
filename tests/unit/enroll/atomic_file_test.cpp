// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include "enroll/atomic_file.hpp"
#include "enroll/mesh_file.hpp"
#include "temp_dir.hpp"

using namespace culvert;
using namespace culvert::enroll;
using testing::slurp;
using testing::spill;
using testing::TempDir;

TEST_CASE("a file is replaced whole and leaves nothing beside it") {
  const TempDir dir;
  const std::string path = dir.path("file");
  REQUIRE(replace_file(path, "old and longer", 0600));
  REQUIRE(replace_file(path, "new", 0640));
  CHECK(slurp(path) == "new");
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0640);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("a full disk is an error that names the file, and the old text stays") {
  const TempDir dir;
  const std::string path = dir.path("file");
  REQUIRE(replace_file(path, "old", 0600));
  // The temporary is a link to the device that is always full.
  std::filesystem::create_symlink("/dev/full", dir.path(".file.new"));
  const auto done = replace_file(path, "new", 0600);
  REQUIRE_FALSE(done);
  CHECK_THAT(done.error().message(), Catch::Contains("file"));
  CHECK(slurp(path) == "old");
}

TEST_CASE("a directory that takes no files is an error") {
  const auto done = replace_file("/proc/culvert/file", "x", 0600);
  REQUIRE_FALSE(done);
  CHECK(done.error().sys_errno() == ENOENT);
}

TEST_CASE("small files are read up to their limit") {
  const TempDir dir;
  CHECK(read_small_file(dir.path("none"), 10).error().code() == ErrorCode::NotFound);
  spill(dir.path("ten"), "0123456789");
  CHECK(read_small_file(dir.path("ten"), 10).value() == "0123456789");
  CHECK_FALSE(read_small_file(dir.path("ten"), 9));
  spill(dir.path("big"), std::string(20'000, 'x'));
  CHECK(read_small_file(dir.path("big"), 20'000)->size() == 20'000);
}

TEST_CASE("directories are made with their parents, once") {
  const TempDir dir;
  REQUIRE(make_directory(dir.path("a/b/c"), 0700));
  REQUIRE(make_directory(dir.path("a/b/c"), 0700));
  CHECK(std::filesystem::is_directory(dir.path("a/b/c")));
  spill(dir.path("file"), "");
  CHECK_FALSE(make_directory(dir.path("file"), 0700));
  CHECK_FALSE(make_directory(dir.path("file/below"), 0700));
}

TEST_CASE("the mesh file that the agent writes is the one that the plugin reads") {
  const TempDir dir;
  const cni::MeshFile file{false, {"shop"}, {"kube-system"}, {"lab/one"}};
  const std::string path = cni::mesh_file_path(dir.path("run/cni.sock"));
  REQUIRE(write_mesh_file(path, file));
  SECTION("one that cannot be written anew is no longer there: it would vouch for what has changed") {
    std::filesystem::create_symlink("/dev/full", dir.path("run/.mesh.json.new"));
    CHECK_FALSE(write_mesh_file(path, {true, {}, {}, {}}));
    CHECK_FALSE(std::filesystem::exists(path));
    return;
  }
  const auto read = cni::decode_mesh_file(slurp(dir.path("run/mesh.json")));
  REQUIRE(read);
  CHECK(*read == file);
}
