// SPDX-License-Identifier: Apache-2.0
#include "enroll/state_dir.hpp"

#include <filesystem>

#include "temp_dir.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::spill;
using testing::TempDir;

PodRecord record(const std::string& id) {
  PodRecord made;
  made.spec.id = id;
  made.spec.name = made.spec.namespace_name = made.spec.service_account = "x";
  made.spec.netns_path = "/run/netns/" + id;
  made.slot = 1;
  return made;
}

}  // namespace

TEST_CASE("records are found again, sorted, and gone after their removal") {
  const TempDir dir;
  const auto state = StateDir::open(dir.path("state"), "this-boot");
  REQUIRE(state);
  REQUIRE(state->write(record("b")));
  REQUIRE(state->write(record("a")));
  REQUIRE(state->write(record("a")));
  const auto loaded = StateDir::open(dir.path("state"), "this-boot")->load();
  REQUIRE(loaded);
  REQUIRE(loaded->size() == 2);
  CHECK((*loaded)[0].id == "a");
  CHECK((*loaded)[1].record->spec.netns_path == "/run/netns/b");
  REQUIRE(state->remove("a"));
  REQUIRE(state->remove("a"));
  CHECK(state->load()->size() == 1);
}

TEST_CASE("a spoilt record is an error of its own and hides no other") {
  const TempDir dir;
  const auto state = StateDir::open(dir.path(), "this-boot");
  REQUIRE(state->write(record("good")));
  spill(dir.path("pods/empty.json"), "");
  spill(dir.path("pods/other.json"), encode(record("good")));
  spill(dir.path("pods/.good.json.new"), "half");  // a write that a crash cut short
  spill(dir.path("pods/readme.txt"), "");
  const auto loaded = state->load();
  REQUIRE(loaded);
  REQUIRE(loaded->size() == 3);
  CHECK_FALSE((*loaded)[0].record);
  CHECK((*loaded)[1].record);
  CHECK_THAT((*loaded)[2].record.error().message(), Catch::Contains("record of pod good"));
}

TEST_CASE("tombstones are listed until they are removed, and other files are none") {
  const TempDir dir;
  const auto state = StateDir::open(dir.path(), "this-boot");
  spill(dir.path("tombstones/c1"), "");
  spill(dir.path("tombstones/.hidden"), "");
  CHECK(state->tombstones() == std::vector<std::string>{"c1"});
  state->remove_tombstone("c1");
  state->remove_tombstone("c1");
  CHECK(state->tombstones().empty());
}

TEST_CASE("a state directory that cannot be made is an error that names it") {
  const TempDir dir;
  spill(dir.path("file"), "");
  const auto state = StateDir::open(dir.path("file/state"), "this-boot");
  REQUIRE_FALSE(state);
  CHECK_THAT(state.error().message(), Catch::Contains("file"));
}

TEST_CASE("what another boot has left is removed unread, what this boot has kept stays") {
  const TempDir dir;
  REQUIRE(StateDir::open(dir.path(), "first-boot")->write(record("a")));
  spill(dir.path("pods/torn.json"), "");  // as a power failure may leave it
  spill(dir.path("tombstones/b"), "");
  CHECK(StateDir::open(dir.path(), "first-boot")->load()->size() == 2);
  const auto next = StateDir::open(dir.path(), "second-boot");
  REQUIRE(next);
  CHECK(next->load()->empty());
  CHECK(next->tombstones().empty());
  REQUIRE(next->write(record("c")));
  CHECK(StateDir::open(dir.path(), "second-boot")->load()->size() == 1);
}

TEST_CASE("the records of an agent that kept no boot are this boot's; a torn note of the boot is another's") {
  const TempDir dir;
  REQUIRE(StateDir::open(dir.path(), "boot")->write(record("a")));
  std::filesystem::remove(dir.path("boot_id"));
  CHECK(StateDir::open(dir.path(), "boot")->load()->size() == 1);
  spill(dir.path("boot_id"), "");
  CHECK(StateDir::open(dir.path(), "boot")->load()->empty());
}

TEST_CASE("the running kernel says which boot it is") {
  const auto boot = current_boot_id();
  REQUIRE(boot);
  CHECK(boot->size() == 36);
}
