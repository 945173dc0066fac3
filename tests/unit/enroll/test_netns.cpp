// SPDX-License-Identifier: Apache-2.0
#include "test_netns.hpp"

#include <cstdio>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "core/netns.hpp"
#include "core/socket.hpp"

namespace culvert::testing {
namespace {

void run(const std::string& command) {
  CAPTURE(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

}  // namespace

void need_root() {
  if (::geteuid() == 0) return;
  std::fputs("SKIPPED: these tests make network namespaces, which needs root\n", stderr);
  std::exit(77);
}

TestNetns::TestNetns(const std::vector<std::string>& addresses) {
  need_root();
  static unsigned counter = 0;
  name_ = fmt::format("cvenr-{}-{}", ::getpid(), counter++);
  path_ = "/run/netns/" + name_;
  // One exec for all: in a guest each costs a tenth of a second.
  std::string steps = "link add eth0 type bridge\nlink set eth0 up\n";
  for (const std::string& address : addresses) {
    steps +=
        fmt::format("address add {} dev eth0{}\n", address, address.find(':') == std::string::npos ? "" : " nodad");
  }
  run(fmt::format("ip netns add {0} && printf '{1}' | ip -n {0} -batch -", name_, steps));
}

TestNetns::~TestNetns() { remove(); }

void TestNetns::remove() {
  if (name_.empty()) return;
  [[maybe_unused]] const int done = std::system(("ip netns del " + name_).c_str());
  name_.clear();
}

UniqueFd TestNetns::open() const { return open_netns(path_).value(); }

void TestNetns::ip(const std::string& arguments) const { run("ip -n " + name_ + " " + arguments); }

enroll::PodSpec spec_for(const TestNetns& netns, const std::string& id) {
  enroll::PodSpec spec;
  spec.id = id;
  spec.name = "cart";
  spec.namespace_name = "shop";
  spec.service_account = "default";
  spec.netns_path = netns.path();
  return spec;
}

UniqueFd listen_in(const TestNetns& netns, const std::string& endpoint, bool is_reuseport) {
  const UniqueFd fd = netns.open();
  const UniqueFd home = open_current_netns().value();
  const auto guard = NetnsGuard::enter(fd.get(), home.get());
  REQUIRE(guard);
  ListenerOptions options;
  options.is_reuseport = is_reuseport;
  auto listener = tcp_listener(Endpoint::parse(endpoint).value(), options);
  REQUIRE(listener);
  return std::move(*listener);
}

FewDescriptors::FewDescriptors(unsigned more) {
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
  // The numbers that the next ones would have: the limit is the one after the last of them.
  std::vector<UniqueFd> next;
  for (unsigned i = 0; i <= more; ++i) next.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const rlimit few{static_cast<rlim_t>(next.back().get()), before_.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
}

FewDescriptors::~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

}  // namespace culvert::testing
