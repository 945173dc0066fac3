// SPDX-License-Identifier: Apache-2.0
// bench_hop: what the hop from a pod to its agent costs, without TLS and without the agent's second socket. bench/run starts it.
#include <CLI/CLI.hpp>

#include "hop_capture.hpp"
#include "hop_stream.hpp"

int main(int argc, char** argv) {
  using namespace culvert::bench;
  CLI::App app("both ends of the capture-hop measurement");
  app.require_subcommand(1);

  SendOptions send_options;
  auto* send = app.add_subcommand("send", "one connection, writes of one size, for a while");
  send->add_option("host", send_options.host)->required();
  send->add_option("port", send_options.port)->required();
  send->add_option("--write-bytes", send_options.write_bytes)->check(CLI::Range(1UL, 64UL << 20U));
  send->add_option("--seconds", send_options.seconds);

  std::uint16_t port = 0;
  auto* sink = app.add_subcommand("sink", "reads and throws away");
  sink->add_option("port", port)->required();

  CaptureOptions capture_options;
  bool redirects = false;
  bool has_small_segments = false;
  auto* capture = app.add_subcommand("capture", "enrols a namespace, reads and throws away what is captured");
  capture->add_option("netns", capture_options.netns_path, "path of the pod's network namespace")->required();
  capture->add_option("--pin-dir", capture_options.pin_dir)->required();
  capture->add_option("--state-dir", capture_options.state_dir)->required();
  capture->add_flag("--redirect", redirects, "without the connect hook: every packet is redirected at tc");
  capture->add_flag("--small-segments", has_small_segments, "lo keeps its segment size");

  CLI11_PARSE(app, argc, argv);
  if (*send) return send_stream(send_options);
  if (*sink) return sink_streams(port);
  capture_options.allow_connect_hook = !redirects;
  capture_options.allow_big_segments = !has_small_segments;
  return capture_and_sink(capture_options);
}
