// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "control/writable_dirs.hpp"

namespace culvert::control {
namespace {

Config of_istio_cni() {
  Config config;
  config.zds.socket = "/var/run/ztunnel/ztunnel.sock";
  config.admin.socket = config.run_dir + "/admin.sock";
  config.identity.embedded.directory = config.state_dir + "/ca";
  return config;
}

bool everything(const std::string&) { return true; }

}  // namespace

TEST_CASE("on a read-only root the directories are below /tmp, with all that is named after them") {
  Config config = of_istio_cni();
  place_directories(config, everything);
  CHECK(config.run_dir == "/tmp/culvert");
  CHECK(config.admin.socket == "/tmp/culvert/admin.sock");
  CHECK(config.cni_socket() == "/tmp/culvert/cni.sock");
  CHECK(config.state_dir == "/tmp/culvert/state");
  CHECK(config.identity.embedded.directory == "/tmp/culvert/state/ca");
}

TEST_CASE(
    "directories stay where they can be made, where the file names them, and where pods must outlive the container") {
  Config config = of_istio_cni();
  SECTION("writable") {
    const Config before = config;
    place_directories(config, [](const std::string&) { return false; });
    CHECK(config == before);
  }
  SECTION("one of the two") {
    place_directories(config, [](const std::string& path) { return path.starts_with("/var"); });
    CHECK(config.run_dir == "/run/culvert");
    CHECK(config.state_dir == "/tmp/culvert/state");
  }
  SECTION("named") {
    config.run_dir = "/srv/run";
    config.state_dir = "/srv/state";
    config.admin.socket = "/srv/admin.sock";
    config.identity.embedded.directory = "/srv/ca";
    const Config before = config;
    place_directories(config, everything);
    CHECK(config == before);
  }
  SECTION("pods of our own plugin") {
    config.zds.socket.clear();
    const Config before = config;
    place_directories(config, everything);
    CHECK(config == before);
  }
}

TEST_CASE("a path's nearest parent says whether it is on a read-only file system") {
  CHECK_FALSE(is_on_read_only_file_system("/tmp/is/not/there"));
  CHECK_FALSE(is_on_read_only_file_system("nor/is/this"));
}

}  // namespace culvert::control
