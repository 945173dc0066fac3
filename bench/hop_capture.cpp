// SPDX-License-Identifier: Apache-2.0
#include "hop_capture.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "datapath/datapath.hpp"
#include "enroll/enroller.hpp"
#include "hop_stream.hpp"

namespace culvert::bench {
namespace {

constexpr char kPodId[] = "bench-hop";
volatile bool g_should_end = false;  // a signal handler can reach nothing else

Result<void> run(const CaptureOptions& options) {
  datapath::Datapath::Options wanted;
  wanted.pin_dir = options.pin_dir;
  wanted.allow_connect_hook = options.allow_connect_hook;
  wanted.allow_big_segments = options.allow_big_segments;
  const auto datapath = CV_TRY(datapath::Datapath::open(wanted));
  const auto enroller = CV_TRY(enroll::Enroller::open({.state_dir = options.state_dir, .workers = 1}, *datapath));
  UniqueFd netns(::open(options.netns_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.is_open()) return fail_errno(errno, "cannot open {}", options.netns_path);
  enroll::PodSpec spec;
  spec.id = kPodId;
  spec.name = kPodId;
  spec.namespace_name = "bench";
  spec.service_account = "default";
  spec.netns_path = options.netns_path;
  const enroll::Pod pod = CV_TRY(enroller->join(std::move(spec), std::move(netns)));
  const datapath::Capabilities& can = datapath->capabilities();
  fmt::print("ready: steering by {}, lo segments of {} bytes\n", can.has_connect_hook ? "connect hook" : "tc redirect",
             can.lo_segment_bytes_v4);
  static_cast<void>(std::fflush(stdout));
  const enroll::PodListeners& listeners = pod.listeners.front();
  // The agent's listeners never block; poll says when there is something to accept.
  read_connections(listeners.v4.outbound.get(), listeners.v6.outbound.get(), g_should_end);
  CV_TRY(enroller->begin_leave(kPodId));
  return enroller->finish_leave(kPodId);
}

}  // namespace

int capture_and_sink(const CaptureOptions& options) {
  struct sigaction action{};
  action.sa_handler = [](int) { g_should_end = true; };  // no SA_RESTART: poll and recv return
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  const Result<void> done = run(options);
  datapath::Datapath::remove_pins(options.pin_dir);
  if (done) return 0;
  fmt::print(stderr, "bench_hop: {}\n", done.error().message());
  return 1;
}

}  // namespace culvert::bench
