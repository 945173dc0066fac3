// SPDX-License-Identifier: Apache-2.0
// hop_cost [GIGABYTES]: what the hop from a pod's application to the agent costs, for docs/decisions/001-capture-hooks.md. One TCP flow of 128 KiB
// writes; both ends are threads of this process, and the figure is the process's CPU time per gigabyte (the kernel's work for
// lo is done in the sender's and receiver's time), so that other load on the machine weighs little. Rounds alternate between the
// ways; medians of five. Needs root. Not a test: it judges nothing.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

#include "bed.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

constexpr std::size_t kWriteBytes = 128 * 1024;

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void set_blocking(const UniqueFd& fd) { ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK); }

// CPU seconds per gigabyte from `client` to `server`.
double cost_of(const UniqueFd& client, const UniqueFd& server, std::size_t total) {
  set_blocking(client);
  set_blocking(server);
  const double before = cpu_seconds();
  std::thread sender([&] {
    const std::vector<char> data(kWriteBytes, 'x');
    for (std::size_t sent = 0; sent < total;) {
      const ssize_t bytes = ::send(client.get(), data.data(), std::min(data.size(), total - sent), MSG_NOSIGNAL);
      if (bytes <= 0) std::abort();
      sent += static_cast<std::size_t>(bytes);
    }
  });
  std::vector<char> buffer(kWriteBytes);
  for (std::size_t got = 0; got < total;) {
    const ssize_t bytes = ::recv(server.get(), buffer.data(), buffer.size(), 0);
    if (bytes <= 0) std::abort();
    got += static_cast<std::size_t>(bytes);
  }
  sender.join();
  return (cpu_seconds() - before) / (static_cast<double>(total) / 1e9);
}

struct Way {
  const char* name;
  bool is_joined, has_hook, has_big_segments;
  std::unique_ptr<Bed> bed;
  std::vector<double> costs[2];
};

double one_round(Way& way, const char* elsewhere, const char* own, std::size_t total) {
  auto& bed = *way.bed;
  const auto destination = at(way.is_joined ? elsewhere : own, 8080);
  const bool is_v4 = destination.address.is_v4();
  UniqueFd plain;
  if (!way.is_joined) plain = bed.listener(bed.pod.get(), destination);
  const UniqueFd& listener = !way.is_joined ? plain : is_v4 ? bed.outbound_v4 : bed.outbound_v6;
  auto client = bed.socket(bed.pod.get(), destination.address.family());
  if (bed.connect(client.get(), destination) != 0) std::abort();
  auto server = accept_within(listener);
  if (!server) std::abort();
  return cost_of(client, server, total);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t total = static_cast<std::size_t>((argc > 1 ? std::atof(argv[1]) : 2.0) * 1e9);
  std::array<Way, 5> ways{{{"plain lo", false, false, false, nullptr, {}},
                           {"steered, 64 KiB segments", true, true, false, nullptr, {}},
                           {"redirected, 64 KiB segments", true, false, false, nullptr, {}},
                           {"steered, big segments", true, true, true, nullptr, {}},
                           {"redirected, big segments on lo", true, false, true, nullptr, {}}}};
  int number = 0;
  for (auto& way : ways) {
    datapath::Datapath::Options options;
    options.allow_connect_hook = way.has_hook;
    options.allow_big_segments = way.has_big_segments;
    way.bed = std::make_unique<Bed>("cost" + std::to_string(++number), options);
    if (way.is_joined) way.bed->join();
  }
  for (int round = 0; round < 5; ++round) {
    for (auto& way : ways) {
      way.costs[0].push_back(one_round(way, kElsewhereV4, kPodV4, total));
      way.costs[1].push_back(one_round(way, kElsewhereV6, kPodV6, total));
    }
  }
  std::printf("%-32s %18s %18s\n", "CPU s/GB (ratio to plain lo)", "IPv4", "IPv6");
  for (const auto& way : ways) {
    std::printf("%-32s", way.name);
    for (const int family : {0, 1}) {
      const double cost = median(way.costs[family]);
      std::printf("     %.3f (%.2f)", cost, cost / median(ways[0].costs[family]));
    }
    std::printf("\n");
  }
}
