// SPDX-License-Identifier: Apache-2.0
// Enroller: joins a pod's network namespace to the mesh, verifies that it is joined, lets it leave, and finds all joined pods
// again after a restart. The same code serves the CNI plugin's ADD, `culvertctl join` and the config file's pods. Control
// thread only. What is joined stands in the state directory, one file per pod, written before the hooks are attached.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/answer_syn.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "culvert/cni/messages.hpp"
#include "datapath/datapath.hpp"

namespace culvert::enroll {

// How a pod's traffic gets to the agent's listeners: Culvert's own programs, or the packet filter rules that a stock istio-cni has put into
// the pod's namespace (REDIRECT to the listeners' ports, a mark that exempts the agent's sockets).
enum class Capture : std::uint8_t { Programs, Rules };

// What is asked for. `id` names the sandbox (CNI container id, or the namespace's name); printable, 1 to 128 characters of
// [A-Za-z0-9._-], not starting with a dot.
struct PodSpec {
  std::string id;
  std::string name;
  std::string namespace_name;
  std::string service_account;
  std::string
      netns_path;  // as given, e.g. /run/netns/cni-1234; how a restarted agent finds it again. Rules: for people only
  std::vector<IpAddress> addresses;  // empty: taken from the namespace's devices
  std::vector<datapath::PortRule> excluded_ports;
  std::vector<datapath::CidrRule> excluded_cidrs;
  bool bypass_inbound = false;
  std::optional<AnswerSyn> answer_syn;  // nothing: as the node
  std::string cni_network;              // name of the CNI network that added it; empty: joined by hand or from the file
  Capture capture = Capture::Programs;
  bool is_from_file = false;  // the configuration lists it: it leaves when it is listed no longer
};

// The agent's sockets in one pod for one worker. Invalid descriptors where the pod lacks the family.
struct PodListeners {
  struct Family {
    UniqueFd outbound;           // loopback:15001, transparent; reached by sk_lookup only. Capture::Rules: wildcard
    UniqueFd inbound_plaintext;  // loopback:15006, likewise
    UniqueFd tunnel;             // wildcard:15008
  };
  Family v4;
  Family v6;
};

inline constexpr std::uint16_t kPortOutbound = 15001;
inline constexpr std::uint16_t kPortInboundPlaintext = 15006;
inline constexpr std::uint16_t kPortTunnel = 15008;

// One joined pod, as the agent hands it to its workers.
struct Pod {
  PodSpec spec;  // with the addresses that are in force
  std::uint32_t slot = 0;
  std::uint64_t netns_cookie = 0;
  UniqueFd netns;
  std::vector<PodListeners> listeners;  // one per worker; moved out by the caller
};

// Of a pod that is joined already: those that it has go on, or the workers get all of them anew.
enum class Listeners : std::uint8_t { Kept, Anew };

class Enroller {
 public:
  struct Options {
    std::string state_dir = "/var/lib/culvert";
    unsigned workers = 1;
    std::uint32_t mark = 0x539;  // of the listeners in pods that are captured by rules
    bool captures_dns = false;   // of pods that our own programs capture
  };
  // `datapath` outlives the enroller.
  [[nodiscard]] static Result<std::unique_ptr<Enroller>> open(const Options& options, datapath::Datapath& datapath);
  ~Enroller();

  // Opens the sockets in the namespace, fills the maps, attaches and verifies; on any failure everything is undone. Joining
  // what is joined already (same id, same namespace) succeeds with no listeners in the answer, and with the new plan in force
  // where addresses or exclusions changed. A pod that is leaving is taken back, and with `Listeners::Anew` one that is joined: same
  // slot, new listeners, hooks that stay throughout. The same id with another namespace replaces the stale one (in a slot of its own).
  [[nodiscard]] Result<Pod> join(PodSpec spec, UniqueFd netns, Listeners listeners = Listeners::Kept);
  // What `join` or `adopt_all` gave could not be served: the pod stays captured, and the next of either gives listeners again.
  void forget_listeners(const std::string& id) noexcept;
  // False as well where a join anew failed on the way: the old ones are not found any more.
  [[nodiscard]] bool has_listeners(const std::string& id) const noexcept;
  // One joined pod's hooks get the form that they keep (Datapath::settle_pod), which takes some time in the kernel: call it when
  // nobody waits, until it gives nothing. An error leaves the hooks as they are; that pod is not tried again.
  [[nodiscard]] bool has_unsettled() const noexcept;
  [[nodiscard]] Result<void> settle_one();
  // Hook, maps and listeners, again.
  [[nodiscard]] Result<void> verify(const std::string& id) const;
  // No new connection is captured; hooks stay for live captured ones until `finish_leave`.
  [[nodiscard]] Result<void> begin_leave(const std::string& id);
  // Takes everything away; also when the namespace is gone. Unknown ids succeed.
  [[nodiscard]] Result<void> finish_leave(const std::string& id);

  // After a restart: re-adopts every pod of the state directory whose namespace still lives, and cleans up after the others.
  // One pod's failure does not stop the rest; it is reported through `failed(id, error)` and its hooks stay (fail closed).
  // Called again it tries those that failed, and passes over those that are joined.
  [[nodiscard]] std::vector<Pod> adopt_all(const std::function<void(const std::string&, const Error&)>& failed);

  // Whether the namespace still exists and is the one that was joined. A pod that is captured by rules lives until it leaves.
  [[nodiscard]] bool is_netns_alive(const std::string& id) const;
  [[nodiscard]] std::vector<std::string> pod_ids() const;
  [[nodiscard]] const PodSpec* find(const std::string& id) const;
  [[nodiscard]] std::uint32_t slot_of(const std::string& id) const;  // 0 when unknown
  [[nodiscard]] bool is_leaving(const std::string& id) const;  // between begin_leave and finish_leave; join ends it
  // For PodService::gc: pods that the request is about and does not list.
  [[nodiscard]] std::vector<std::string> stale_ids(const cni::GcRequest& request) const;

 private:
  struct State;
  explicit Enroller(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::enroll
