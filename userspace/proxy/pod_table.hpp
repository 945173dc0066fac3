// SPDX-License-Identifier: Apache-2.0
// PodTable: one worker's view of the pods that it serves: identity, namespace, its own listeners. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"
#include "base/answer_syn.hpp"
#include "base/spiffe_id.hpp"
#include "base/unique_fd.hpp"
#include "core/slab.hpp"
#include "enroll/enroller.hpp"
#include "policy/rule_set.hpp"
#include "tls/credentials.hpp"

namespace culvert::proxy {

// What the control thread hands to each worker for one pod.
struct PodSetup {
  std::uint32_t slot = 0;
  std::string id;
  std::string name;
  std::string namespace_name;
  SpiffeId identity;
  std::vector<IpAddress> addresses;
  enroll::Capture capture = enroll::Capture::Programs;
  std::optional<AnswerSyn> answer_syn;  // nothing: as Options say
  // How the control plane calls the pod; empty: there is none, and the pod is whoever has its address.
  std::string uid;
  // How this agent calls it in a mesh that does not name it.
  std::string local_uid;
  bool waits_for_name = false;  // its connections wait until the control plane has named it, for a while
  UniqueFd netns;
  enroll::PodListeners listeners;
  std::shared_ptr<const tls::Credentials> credentials;  // may be null: none yet
};

// Why a connection of a pod is refused that waits for its name and that the control plane has not named.
inline constexpr std::string_view kUnnamedPod = "failed to fetch information about local workload";

enum class ListenerKind : std::uint8_t { Outbound, InboundPlaintext, Tunnel };

struct WorkerPod {
  PodSetup setup;
  std::string baggage;  // what it says of itself, by snapshot `baggage_version` (baggage.hpp)
  std::uint64_t baggage_version = 0;
  policy::RuleSet rules;                           // of the worker's snapshot; kept by Admission, as are the two below
  const state::WorkloadEntry* workload = nullptr;  // what it says of this very pod; null: nothing
  std::uint32_t live_flows = 0;
  bool has_new_rules = false;  // its live connections are being judged again
  std::uint64_t held_until_ms =
      0;  // its listeners are not served before it is complete (worker.cpp), or this; 0: they are
  bool is_leaving = false;
  std::uint32_t demand_waits = 0;  // its flows that wait for the mesh; kept by Demands
  // Kept by HeldSyns: whether the pod's SYNs wait for the far end, how many do, and a socket that sends frames over its lo.
  bool holds_syns = false;
  std::uint32_t held_syns = 0;
  UniqueFd lo_sender;

  // Whether the control plane has said who it is, where that is waited for.
  [[nodiscard]] bool is_named() const noexcept { return !setup.waits_for_name || workload != nullptr; }
  [[nodiscard]] bool owns(const IpAddress& address) const noexcept {
    return std::ranges::find(setup.addresses, address) != setup.addresses.end();
  }
};

class PodTable {
 public:
  WorkerPod& add(PodSetup setup) {
    const std::uint32_t slot = setup.slot;
    auto pod = std::make_unique<WorkerPod>();
    pod->setup = std::move(setup);
    return *(pods_[slot] = std::move(pod));
  }
  [[nodiscard]] WorkerPod* find(std::uint32_t slot) const noexcept {
    const auto place = pods_.find(slot);
    return place == pods_.end() ? nullptr : place->second.get();
  }
  void remove(std::uint32_t slot) { pods_.erase(slot); }
  [[nodiscard]] bool has_identity(const SpiffeId& identity) const {
    return std::ranges::any_of(pods_, [&](const auto& one) { return one.second->setup.identity == identity; });
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [slot, pod] : pods_) visit(*pod);
  }

 private:
  std::unordered_map<std::uint32_t, std::unique_ptr<WorkerPod>> pods_;
};

// A listener's epoll token carries slot, kind and family where others carry a slab handle.
[[nodiscard]] constexpr SlabHandle listener_handle(std::uint32_t slot, ListenerKind kind, bool is_v6) noexcept {
  return {slot, (static_cast<std::uint32_t>(kind) << 1U | (is_v6 ? 1U : 0U)) + 1U};
}
[[nodiscard]] constexpr ListenerKind listener_kind(SlabHandle handle) noexcept {
  return static_cast<ListenerKind>((handle.generation - 1U) >> 1U);
}
[[nodiscard]] constexpr bool listener_is_v6(SlabHandle handle) noexcept { return ((handle.generation - 1U) & 1U) != 0; }

}  // namespace culvert::proxy
