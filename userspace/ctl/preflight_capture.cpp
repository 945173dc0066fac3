// SPDX-License-Identifier: Apache-2.0
// Preflight of the capture: the agent's own programs are loaded, verified and attached to the node's hooks below a pin
// directory of this process, which is removed again. They know no pod, so they let everything pass.
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/socket.hpp"
#include "ctl/preflight.hpp"
#include "datapath/datapath.hpp"

namespace culvert::ctl {
namespace {

constexpr std::uint32_t kOrdinarySegmentBytes = 65'536;

// The note that speaks of `word`, in the datapath's own words.
std::string note_on(const datapath::Capabilities& capabilities, std::string_view word) {
  for (const std::string& note : capabilities.notes) {
    if (note.find(word) != std::string::npos) return note + ".";
  }
  return {};
}

void add(Checks& checks, const char* id, const char* title, bool is_there, const char* found, const char* instead,
         std::string remedy) {
  checks.push_back({.id = id,
                    .title = title,
                    .verdict = is_there ? Verdict::Ok : Verdict::Degraded,
                    .found = is_there ? found : instead,
                    .remedy = is_there ? std::string() : std::move(remedy)});
}

void add_segments(Checks& checks, const char* id, const char* title, std::uint32_t bytes, const char* since) {
  add(checks, id, title, bytes > kOrdinarySegmentBytes, "more than 64 KiB", "at most 64 KiB",
      fmt::format("The two hops over lo cost more CPU per byte; {} and newer can do more.", since));
}

// What capture.answer_syn: after_connect takes: a filter and a ring, and a socket that sends what another host would.
Result<void> try_to_hold(const datapath::SynGate& gate) {
  const auto ring = CV_TRY(gate.open_ring(0, [](std::uint32_t, ByteView) {}));
  in_addr loopback{htonl(INADDR_LOOPBACK)};
  const UniqueFd listener = CV_TRY(tcp_listener({IpAddress::v4(loopback), 0}, {}));
  if (const int error = gate.hold(listener.get(), 0, 0); error != 0)
    return fail_errno(error, "a listener takes no filter");
  gate.release(listener.get());
  const UniqueFd sender(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!sender) return fail_errno(errno, "no packet socket can be made; culvertd needs CAP_NET_RAW");
  return {};
}

void add_holding(Checks& checks, const datapath::SynGate& gate) {
  const Result<void> held = try_to_hold(gate);
  add(checks, "answer-syn", "answering after the far end", held.has_value(), "can be done", "answered at once",
      held ? std::string() : "With capture.answer_syn: after_connect, too: " + held.error().message() + ".");
}

// Everything about clsact and tcx is one decision: a join attaches a clsact filter, a tcx link takes its place, either can stand alone.
void add_egress(Checks& checks, const datapath::Capabilities& found) {
  add(checks, "tcx", "attachment", found.has_tcx, "tcx", found.has_clsact ? "clsact" : "none",
      "tcx (Linux 6.6 and newer) cannot be removed from within a pod, and shares a device with other programs without "
      "ordering by hand; clsact captures as well.");
  add(checks, "clsact", "clsact filter at a join", found.has_clsact, "can be attached", "cannot be attached",
      note_on(found, "clsact"));
  if (!found.has_clsact && !found.has_tcx) checks.back().verdict = Verdict::Missing;
}

}  // namespace

void add_hooks(Checks& checks, const datapath::Capabilities& found) {
  add(checks, "steering", "steering at connect", found.has_connect_hook, "cgroup/connect hook",
      "packets are redirected at tc", note_on(found, "steered"));
  add(checks, "sockops", "the node's own connections", found.has_sockops, "recognised by sockops",
      "not told from foreign ones", note_on(found, "probes"));
  add(checks, "socket-options", "options that send past the capture", found.has_option_hook, "refused to pods",
      "not refused", note_on(found, "PACKET_QDISC_BYPASS"));
  add_egress(checks, found);
  add(checks, "sk-lookup", "listeners by sk_lookup", found.has_sk_lookup, "can be attached", "cannot be attached",
      note_on(found, "sk_lookup"));
  if (!found.has_sk_lookup) checks.back().verdict = Verdict::Missing;
  add_segments(checks, "lo-segments-v4", "big segments on lo, IPv4", found.lo_segment_bytes_v4, "Linux 6.3");
  add_segments(checks, "lo-segments-v6", "big segments on lo, IPv6", found.lo_segment_bytes_v6, "Linux 5.19");
}

void probe_capture(Checks& checks) {
  const std::string pin_dir = fmt::format("/sys/fs/bpf/culvert-preflight-{}", ::getpid());
  {
    datapath::Datapath::Options options;
    options.pin_dir = pin_dir;
    const auto opened = datapath::Datapath::open(options);
    if (!opened) {
      checks.push_back(
          {.id = "bpf",
           .title = "BPF programs of the capture",
           .verdict = Verdict::Missing,
           .found = "cannot be loaded",
           .remedy = opened.error().message() + (::geteuid() == 0 ? "" : " (run culvertctl preflight as root)")});
    } else {
      checks.push_back({.id = "bpf",
                        .title = "BPF programs of the capture",
                        .verdict = Verdict::Ok,
                        .found = "loaded and verified",
                        .remedy = {}});
      add_hooks(checks, (*opened)->capabilities());
      add_holding(checks, (*opened)->syn_gate());
    }
  }
  datapath::Datapath::remove_pins(pin_dir);
}

}  // namespace culvert::ctl
