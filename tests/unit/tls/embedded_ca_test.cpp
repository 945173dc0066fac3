// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/embedded_ca.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
namespace fs = std::filesystem;

namespace {

class Directory {
 public:
  Directory() {
    char path[] = "/tmp/culvert-ca-test.XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string ca() const { return path_ + "/ca"; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const SpiffeId kId = *SpiffeId::parse(kServerId);

}  // namespace

TEST_CASE("the embedded CA is made on first use and found again") {
  Directory directory;
  auto first = EmbeddedCa::open_or_create(directory.ca());
  REQUIRE(first);
  struct stat status{};
  REQUIRE(::stat((directory.ca() + "/ca.key").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0600);
  REQUIRE(::stat(directory.ca().c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0700);
  const std::string pem = (*first)->certificate_pem();
  auto second = EmbeddedCa::open_or_create(directory.ca());
  REQUIRE(second);
  CHECK((*second)->certificate_pem() == pem);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory.ca())) ++files;
  CHECK(files == 2);  // nothing temporary was left
}

TEST_CASE("what the embedded CA issues is good for a handshake") {
  Directory directory;
  auto ca = EmbeddedCa::open_or_create(directory.ca());
  REQUIRE(ca);
  const auto client = (*ca)->issue(*SpiffeId::parse(kClientId), 3600);
  const auto server = (*ca)->issue(kId, 3600);
  REQUIRE(client);
  REQUIRE(server);
  const auto now_s = static_cast<std::int64_t>(wall_us() / 1'000'000);
  CHECK((*server)->info().not_before_s <= now_s - 118);
  CHECK((*server)->info().not_after_s <= now_s + 3601);
  CHECK((*server)->info().not_after_s >= now_s + 3590);
  End a;
  End b;
  const Handshaken both = handshake(a, client_options(*client), b, server_options(*server));
  INFO(both.client_detail << " / " << both.server_detail);
  CHECK(both.server_step == HandshakeSocket::Step::Done);
}

TEST_CASE("a leaf does not outlive its CA") {
  Directory directory;
  auto ca = EmbeddedCa::open_or_create(directory.ca());
  REQUIRE(ca);
  const auto leaf = (*ca)->issue(kId, std::int64_t{100} * 365 * 86400);
  REQUIRE(leaf);
  const auto now_s = static_cast<std::int64_t>(wall_us() / 1'000'000);
  CHECK((*leaf)->info().not_after_s <= now_s + std::int64_t{10} * 365 * 86400);
}

TEST_CASE("agents that start at once agree on one CA") {
  Directory directory;
  std::vector<std::string> pems(8);
  std::vector<std::thread> threads;
  for (std::string& pem : pems) {
    threads.emplace_back([&] {
      auto ca = EmbeddedCa::open_or_create(directory.ca());
      pem = ca ? (*ca)->certificate_pem() : ca.error().message();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& pem : pems) CHECK(pem == pems.front());
  CHECK(pems.front().starts_with("-----BEGIN CERTIFICATE"));
}

TEST_CASE("a start that was cut between key and certificate is completed") {
  Directory directory;
  REQUIRE(EmbeddedCa::open_or_create(directory.ca()));
  const std::string key = content_of(directory.ca() + "/ca.key");
  REQUIRE(::unlink((directory.ca() + "/ca.crt").c_str()) == 0);
  REQUIRE(EmbeddedCa::open_or_create(directory.ca()));
  CHECK(content_of(directory.ca() + "/ca.key") == key);
}

TEST_CASE("a damaged or exposed CA is refused with the remedy") {
  Directory directory;
  REQUIRE(EmbeddedCa::open_or_create(directory.ca()));
  const auto refusal = [&] {
    const auto opened = EmbeddedCa::open_or_create(directory.ca());
    REQUIRE_FALSE(opened);
    return opened.error().message();
  };
  const std::string key = directory.ca() + "/ca.key";
  SECTION("others may read the key") {
    REQUIRE(::chmod(key.c_str(), 0644) == 0);
    CHECK_THAT(refusal(), Catch::Contains("chmod 600") && Catch::Contains(key) && Catch::Contains("0644"));
  }
  SECTION("the key is cut short") {
    REQUIRE(::truncate(key.c_str(), 40) == 0);
    CHECK_THAT(refusal(), Catch::Contains(key));
  }
  SECTION("the certificate is of another key") {
    Directory other;
    REQUIRE(EmbeddedCa::open_or_create(other.ca()));
    fs::copy_file(other.ca() + "/ca.crt", directory.ca() + "/ca.crt", fs::copy_options::overwrite_existing);
    CHECK_THAT(refusal(), Catch::Contains("does not fit the key") && Catch::Contains("ca.crt"));
  }
  SECTION("others may write in the directory") {
    REQUIRE(::chmod(directory.ca().c_str(), 0777) == 0);
    CHECK_THAT(refusal(), Catch::Contains("chmod go-w"));
  }
  SECTION("the directory is a file") {
    fs::remove_all(directory.ca());
    std::ofstream(directory.ca()) << "x";
    CHECK_THAT(refusal(), Catch::Contains("not a directory"));
  }
}

TEST_CASE("a full or read-only state directory is named, and nothing half-written stays") {
  if (::geteuid() != 0) {
    WARN("SKIP: needs root to mount");
    return;
  }
  Directory directory;
  const auto refusal = [&] {
    const auto opened = EmbeddedCa::open_or_create(directory.path());
    REQUIRE_FALSE(opened);
    return opened.error().message();
  };
  SECTION("read-only") {
    REQUIRE(::mount("none", directory.path().c_str(), "tmpfs", MS_RDONLY, "mode=700") == 0);
    const std::string message = refusal();
    ::umount2(directory.path().c_str(), MNT_DETACH);
    CHECK_THAT(message, Catch::Contains("read-only") && Catch::Contains("ca.key"));
  }
  SECTION("full") {
    REQUIRE(::mount("none", directory.path().c_str(), "tmpfs", 0, "mode=700,size=4k") == 0);
    std::ofstream(directory.path() + "/filler") << std::string(4096, 'x');
    const std::string message = refusal();
    const bool has_key = fs::exists(directory.path() + "/ca.key");
    ::umount2(directory.path().c_str(), MNT_DETACH);
    CHECK_THAT(message, Catch::Contains("disk is full"));
    CHECK_FALSE(has_key);
  }
}
