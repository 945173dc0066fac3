// SPDX-License-Identifier: Apache-2.0
// The file of revocation lists: followed, and never worse than what is in force.
#include "control/revocation_file.hpp"

#include <filesystem>

#include <catch2/catch.hpp>

#include "../tls/crl_maker.hpp"
#include "base/clock.hpp"
#include "temp_directory.hpp"
#include "tls/certificate_maker.hpp"

namespace culvert::control {
namespace {

using test::replace_file;
using test::TempDirectory;
using test::write_file;

struct World {
  World() {
    tls::CertificateTemplate root;
    root.common_name = "root";
    root.not_after_s = 4'000'000'000;
    certificate = std::move(*tls::make_certificate(root, key.get(), nullptr, key.get()));
  }
  void open() {
    RevocationFile::Callbacks callbacks;
    callbacks.changed = [this] { ++changes; };
    callbacks.failed = [this](const Error& error) { failures.push_back(error.message()); };
    file = RevocationFile::open(*reactor, path, revocation, std::move(callbacks));
  }
  [[nodiscard]] std::string lists(std::size_t count) const {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += tls::test::make_crl(certificate.get(), key.get(), {});
    return text;
  }
  template <typename Condition>
  bool wait_for(Condition condition) {
    const std::uint64_t deadline_ms = monotonic_ms() + 10'000;
    while (!condition() && monotonic_ms() < deadline_ms) reactor->turn(50);
    return condition();
  }

  TempDirectory dir;
  std::string path = dir / "ca-crl.pem";
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  tls::KeyPtr key = std::move(*tls::make_p256_key());
  tls::CertificatePtr certificate;
  tls::Revocation revocation{false};
  std::size_t changes = 0;
  std::vector<std::string> failures;
  std::unique_ptr<RevocationFile> file;
};

TEST_CASE("lists are read at the start, and again when the file is replaced") {
  World world;
  write_file(world.path, world.lists(1));
  world.open();
  CHECK(world.changes == 1);
  CHECK(world.revocation.lists().size() == 1);
  replace_file(world.path, world.lists(3));
  REQUIRE(world.wait_for([&world] { return world.changes == 2; }));
  CHECK(world.revocation.lists().size() == 3);
  CHECK(world.failures.empty());
}

TEST_CASE("a file that is not there is said so, and read when it comes") {
  World world;
  world.open();
  REQUIRE(world.failures.size() == 1);
  CHECK(world.failures[0] == "cannot open the revocation lists " + world.path + ": No such file or directory");
  CHECK(world.file->error() == world.failures[0]);
  write_file(world.path, world.lists(1));
  REQUIRE(world.wait_for([&world] { return world.changes == 1; }));
  CHECK(world.file->error().empty());
}

TEST_CASE("a file that is wrong leaves the lists in force, is complained of once, and may be mended") {
  World world;
  const std::string good = world.lists(2);
  write_file(world.path, good);
  world.open();
  replace_file(world.path, good.substr(0, good.size() / 3));
  REQUIRE(world.wait_for([&world] { return world.failures.size() == 1; }));
  CHECK(world.failures[0] == "the revocation lists " + world.path + ": it is not whole: a PEM block has no end");
  CHECK(world.revocation.lists().size() == 2);
  world.file->reload();
  CHECK(world.file->failures() == 2);
  // The very text that is in force: nothing changes, and nothing is wrong any more.
  replace_file(world.path, good);
  REQUIRE(world.wait_for([&world] { return world.file->error().empty(); }));
  CHECK(world.changes == 1);
}

TEST_CASE("what is no regular file, or too large, is not read") {
  World world;
  std::filesystem::create_directory(world.path);
  world.open();
  REQUIRE(world.failures.size() == 1);
  CHECK(world.failures[0].ends_with("is not a regular file; name the file itself"));
  std::filesystem::remove(world.path);
  write_file(world.path, std::string(tls::Revocation::kBytesMax + 1, 'x'));
  REQUIRE(world.wait_for([&world] { return world.failures.back().ends_with("is larger than 16777216 bytes"); }));
}

}  // namespace
}  // namespace culvert::control
