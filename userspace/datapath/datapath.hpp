// SPDX-License-Identifier: Apache-2.0
// Datapath: the one owner of the BPF object, its maps, links and pins. Control thread only; workers get a SocketMarker.
// Programs and maps are pinned below Options::pin_dir, so that hooks and socket states outlive the agent: while it is away a
// captured packet finds no listener and is dropped. What is pinned where is one table in pin_plan.hpp; hooks and maps are
// described in docs/datapath.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "datapath/syn_gate.hpp"

struct cv_pod_undo;

namespace culvert::datapath {

// What this kernel lets us do, found by trying, shown by `culvertctl preflight` and status.
struct Capabilities {
  bool has_tcx = false;                   // else clsact
  bool has_clsact = false;                // what a join attaches first; without it and tcx no pod can be captured
  bool has_sk_lookup = false;             // without it none either
  bool has_connect_hook = false;          // steering at connect; else every flow is redirected at tc egress
  bool has_sockops = false;               // the node's own connections are recognised
  bool has_option_hook = false;           // socket options that send past tc egress are refused to pods
  bool has_dns_hooks = false;             // questions to port 53 can be given to the agent; only tried when wanted
  std::uint32_t lo_segment_bytes_v4 = 0;  // largest GSO segment that lo can be given, per family
  std::uint32_t lo_segment_bytes_v6 = 0;
  std::vector<std::string> notes;  // one sentence for each thing that is missing: what, why, remedy
};

// Which of the agent's listeners in a pod a steered SYN goes to.
enum class ListenerRole : std::uint8_t { Outbound, InboundPlaintext };

struct PortRule {
  std::uint16_t port = 0;
  bool is_inbound = false;
};
struct CidrRule {
  Cidr cidr;
  bool is_inbound = false;
};

// What the programs need to know of one pod.
struct PodPlan {
  std::uint32_t slot = 0;  // 1..kPodSlotsMax-1, chosen by `allocate_slot`
  std::uint64_t netns_cookie = 0;
  std::vector<IpAddress> addresses;      // the first of each family is the source of steered connections
  std::vector<std::string> devices;      // the pod's devices, e.g. eth0; never lo
  std::vector<PortRule> excluded_ports;  // traffic that stays as it is without a mesh
  std::vector<CidrRule> excluded_cidrs;
  bool bypass_inbound = false;  // plaintext that enters the pod is not taken
  bool captures_dns = false;    // questions to port 53 go to loopback, port 15053, while somebody listens there
  bool is_running = false;      // it may have traffic already: hooks are made so that no packet is lost (PodHooks)
};

// One pod as found pinned by an earlier agent.
struct PinnedPod {
  std::uint32_t slot = 0;
  std::uint64_t netns_cookie = 0;
};

struct PodCounter {
  std::string name;  // from the X-list in include/culvert/abi/counters.h
  std::string help;
  std::uint64_t value = 0;
};

// Marks a socket as the agent's own. A copy of a map descriptor's number: usable from any worker while the Datapath lives.
class SocketMarker {
 public:
  explicit SocketMarker(int map_fd) noexcept : map_fd_(map_fd) {}
  // 0 or an errno. Without programs there is nobody to mark for: 0. One bpf() call; what a listener has, the sockets that it accepts inherit.
  [[nodiscard]] int mark_agent(int socket_fd) const noexcept;

 private:
  int map_fd_;
};

class Datapath {
 public:
  struct Options {
    std::string pin_dir = "/sys/fs/bpf/culvert";  // one per agent; on a bpffs
    std::string cgroup_dir;                       // cgroup2 mount; empty: found in /proc/self/mountinfo
    std::uint32_t mark = 0x539;                   // the mark that routes a steered packet over lo
    std::uint32_t route_table = 1337;
    std::uint32_t rule_priority = 32764;
    std::uint64_t node_netns_cookie = 0;  // whose sockets are the node's own (probes)
    bool allow_tcx = true;
    bool allow_clsact = true;  // false, with tcx: as in a kernel without clsact; for tests
    bool allow_connect_hook = true;
    bool allow_big_segments = true;
    bool captures_dns = false;  // some pod's plan may say so
  };

  // Loads, or takes over what an earlier agent pinned in pin_dir (an incompatible layout is an error that says what to do).
  [[nodiscard]] static Result<std::unique_ptr<Datapath>> open(const Options& options);
  // Slots and nothing else, for an agent whose pods are all captured by others' rules: no bpffs and no right to load programs is needed.
  [[nodiscard]] static std::unique_ptr<Datapath> without_programs();
  [[nodiscard]] bool has_programs() const noexcept;
  ~Datapath();
  Datapath(const Datapath&) = delete;
  Datapath& operator=(const Datapath&) = delete;

  [[nodiscard]] const Capabilities& capabilities() const noexcept;
  [[nodiscard]] SocketMarker socket_marker() const noexcept;
  [[nodiscard]] SynGate syn_gate() const noexcept;

  // Pods that an earlier agent left attached.
  [[nodiscard]] std::vector<PinnedPod> pinned_pods() const;
  [[nodiscard]] Result<std::uint32_t> allocate_slot();
  void release_slot(std::uint32_t slot) noexcept;

  // Writes the pod's entries, prepares lo (rule, route, sysctls, segment size) and attaches the hooks, each verified. The
  // listeners are registered before. Doing it again for the same slot replaces what is there without a gap in enforcement.
  [[nodiscard]] Result<void> attach_pod(const PodPlan& plan, int netns_fd, int home_netns_fd);
  // Gives the pod's egress hooks the form that they keep (tcx links, where the kernel has them); captures alike before and
  // after, without a gap. Takes a kernel grace period or two: for a time when nobody waits. Done already: succeeds.
  [[nodiscard]] Result<void> settle_pod(const PodPlan& plan, int netns_fd, int home_netns_fd);
  // Puts listeners where sk_lookup finds them: a plain listening socket, never one that will carry TLS.
  [[nodiscard]] Result<void> set_listener(std::uint32_t slot, ListenerRole role, int family, int listener_fd);
  // Checks hook, map entries and listener entries; the error says which is missing.
  [[nodiscard]] Result<void> verify_pod(const PodPlan& plan, int netns_fd, int home_netns_fd) const;
  // New connections are no longer steered; live captured ones keep their way until `detach_pod`.
  [[nodiscard]] Result<void> stop_capture(std::uint32_t slot);
  // Removes hooks, entries, rules and pins. `netns_fd` -1: the namespace is gone already. Never fails on what is not there.
  [[nodiscard]] Result<void> detach_pod(std::uint32_t slot, int netns_fd, int home_netns_fd);

  // Every decision and drop, by pod.
  [[nodiscard]] Result<std::vector<PodCounter>> counters(std::uint32_t slot) const;
  // Removes every pin of this agent (uninstall, tests).
  static void remove_pins(const std::string& pin_dir);

 private:
  struct State;
  explicit Datapath(std::unique_ptr<State> state);
  [[nodiscard]] Result<void> attach(const PodPlan& plan, int netns_fd, int home_netns_fd);
  [[nodiscard]] Result<void> restore(const cv_pod_undo& undo, int netns_fd, int home_netns_fd);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::datapath
