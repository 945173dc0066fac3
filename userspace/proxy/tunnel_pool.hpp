// SPDX-License-Identifier: Apache-2.0
// TunnelPool: which tunnels are idle or take further streams, which flows wait for one, and how many are being made, by source pod and
// destination. Bookkeeping only: no sockets, no clock. One worker, one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"
#include "core/slab.hpp"
#include "state/route.hpp"

namespace culvert::proxy {

struct PoolKey {
  std::uint32_t pod_slot = 0;  // the source workload
  std::uint32_t accepted = 0;  // the identities that the far side may have: a number of the AcceptedTable
  Endpoint next_hop;           // where its tunnel port is; with `via` the gateway's
  std::uint32_t via = 0;       // a number of the ViaTable: inside a stream to a gateway; 0: straight
  state::HboneNeed hbone_need = state::HboneNeed::None;  // else it is offered h2 only
  bool operator==(const PoolKey&) const noexcept = default;
};

struct PoolKeyHash {
  std::size_t operator()(const PoolKey& key) const noexcept {
    return std::hash<Endpoint>{}(key.next_hop) ^ (std::size_t{key.pod_slot} << 32U) ^
           (std::size_t{key.accepted} << 17U) ^ (std::size_t{key.via} << 9U) ^ static_cast<std::size_t>(key.hbone_need);
  }
};

class TunnelPool {
 public:
  // `streams_max`: of one shared tunnel; `spread`: shared tunnels to one destination before they are filled up; `direct_max`: direct tunnels
  // in use to one destination, beyond which further flows share; 0: they never do, unless the peer takes nothing else.
  explicit TunnelPool(std::size_t idle_max, std::size_t streams_max = 100, std::size_t spread = 1,
                      std::size_t direct_max = 0)
      : idle_max_(idle_max), streams_max_(streams_max), spread_(spread), direct_max_(direct_max) {}

  // Of each key; a list that is longer already shrinks as its tunnels are used or run into their time.
  void set_idle_max(std::size_t idle_max) noexcept { idle_max_ = idle_max; }

  // The number of a key; it stays valid while a tunnel or a flow holds it (`hold`, `drop`).
  [[nodiscard]] std::uint32_t open(const PoolKey& key);
  [[nodiscard]] const PoolKey& key(std::uint32_t number) const noexcept { return entries_[number].key; }
  void hold(std::uint32_t number) noexcept { ++entries_[number].holders; }
  void drop(std::uint32_t number) noexcept;

  // The most recently used idle tunnel, taken off the list.
  [[nodiscard]] std::optional<SlabHandle> take_idle(std::uint32_t number);
  // False when the list is full: the caller closes the tunnel.
  [[nodiscard]] bool give_idle(std::uint32_t number, SlabHandle tunnel);
  void forget_idle(std::uint32_t number, SlabHandle tunnel);

  void enqueue(std::uint32_t number, SlabHandle flow) {
    entries_[number].waiting.push_back(flow);
    entries_[number].is_stopped = false;
  }
  // Nothing is made for what waits now: those that there are will take it. Until another flow comes, or a tunnel is there or gone.
  void stop_making(std::uint32_t number) noexcept { entries_[number].is_stopped = true; }
  void resume_making(std::uint32_t number) noexcept { entries_[number].is_stopped = false; }
  [[nodiscard]] std::optional<SlabHandle> dequeue(std::uint32_t number);
  void leave_queue(std::uint32_t number, SlabHandle flow);

  // How many may be made at once: a few to a destination that is new, so that its first ticket spares the others the full
  // handshake; `warm_up` lifts that, and so do some handshakes that brought none.
  static constexpr std::uint32_t kColdHandshakes = 4;
  [[nodiscard]] bool may_make(std::uint32_t number, std::size_t at_once_max) const noexcept {
    const Entry& entry = entries_[number];
    return making_total_ < at_once_max && (entry.is_warm || entry.making < kColdHandshakes);
  }
  void warm_up(std::uint32_t number) noexcept { entries_[number].is_warm = true; }
  // More tunnels are needed for this key than are being made: one for each flow, or, when the peer takes many on one, a few.
  [[nodiscard]] bool wants_more(std::uint32_t number) const noexcept {
    const Entry& entry = entries_[number];
    if (entry.is_stopped) return false;
    if (entry.is_shared) return shared_needed(entry) > entry.making;
    return direct_needed(entry) > entry.making - entry.making_overflow;
  }
  // Beyond `direct_max` in use, tunnels that offer HTTP/2 only are made for the rest (decision 015).
  [[nodiscard]] bool wants_overflow(std::uint32_t number) const noexcept {
    const Entry& entry = entries_[number];
    if (entry.is_stopped || entry.is_shared || !can_overflow(entry)) return false;
    const std::size_t rest = entry.waiting.size() - direct_needed(entry);
    return (rest + streams_max_ - 1) / streams_max_ > entry.making_overflow;
  }
  // Flows without an idle tunnel go on shared ones.
  [[nodiscard]] bool prefers_shared(std::uint32_t number) const noexcept {
    const Entry& entry = entries_[number];
    return entry.is_shared || (can_overflow(entry) && direct_room(entry) == 0);
  }
  // The destination speaks the direct tunnel only.
  void refuse_overflow(std::uint32_t number) noexcept { entries_[number].is_direct_only = true; }
  void making_overflow(std::uint32_t number, int change) noexcept {
    entries_[number].making_overflow =
        static_cast<std::uint32_t>(static_cast<int>(entries_[number].making_overflow) + change);
  }
  // A direct tunnel is there, or is gone.
  void direct_live(std::uint32_t number, int change) noexcept {
    entries_[number].is_stopped = false;
    entries_[number].direct = static_cast<std::uint32_t>(static_cast<int>(entries_[number].direct) + change);
  }

  // Shared tunnels: those that take further streams. `is_shared`: the last handshake with this destination chose that, though more was offered.
  void set_shared(std::uint32_t number, bool is_shared) noexcept { entries_[number].is_shared = is_shared; }
  [[nodiscard]] bool is_shared(std::uint32_t number) const noexcept { return entries_[number].is_shared; }
  void add_shared(std::uint32_t number, SlabHandle tunnel) {
    entries_[number].shared.push_back(tunnel);
    entries_[number].is_stopped = false;
  }
  void forget_shared(std::uint32_t number, SlabHandle tunnel) {
    std::erase(entries_[number].shared, tunnel);
    entries_[number].is_stopped = false;
  }
  [[nodiscard]] const std::vector<SlabHandle>& shared(std::uint32_t number) const noexcept {
    return entries_[number].shared;
  }
  [[nodiscard]] std::size_t waiting(std::uint32_t number) const noexcept { return entries_[number].waiting.size(); }
  // A further one is worth making beside those that there are.
  [[nodiscard]] bool may_spread(std::uint32_t number) const noexcept {
    return entries_[number].shared.size() + entries_[number].making < spread_;
  }
  // How many of the waiting flows a new shared tunnel takes, so that those still being made get theirs.
  [[nodiscard]] std::size_t share_of_waiting(std::uint32_t number) const noexcept {
    const Entry& entry = entries_[number];
    return (entry.waiting.size() + entry.making) / (entry.making + 1U);
  }
  void making(std::uint32_t number, int change) noexcept;
  [[nodiscard]] std::size_t making_total() const noexcept { return making_total_; }
  [[nodiscard]] std::size_t idle_total() const noexcept { return idle_total_; }
  // Some key that wants more tunnels and may make one; for when a place for a handshake became free. Round robin.
  [[nodiscard]] std::optional<std::uint32_t> next_wanting(std::size_t at_once_max);

 private:
  struct Entry {
    PoolKey key;
    std::vector<SlabHandle> idle;
    std::vector<SlabHandle> shared;
    std::deque<SlabHandle> waiting;
    std::uint32_t making = 0;           // all that are being made
    std::uint32_t making_overflow = 0;  // of these, those that offer HTTP/2 only
    std::uint32_t direct = 0;           // direct tunnels that live
    std::uint32_t holders = 0;
    std::uint32_t made = 0;
    bool is_warm = false;
    bool is_used = false;
    bool is_shared = false;
    bool is_direct_only = false;
    bool is_stopped = false;
  };
  [[nodiscard]] bool can_overflow(const Entry& entry) const noexcept {
    return direct_max_ > 0 && !entry.is_direct_only;
  }
  [[nodiscard]] std::size_t direct_room(const Entry& entry) const noexcept {
    const std::size_t busy = entry.direct - entry.idle.size();
    return busy < direct_max_ ? direct_max_ - busy : 0;
  }
  [[nodiscard]] std::size_t direct_needed(const Entry& entry) const noexcept {
    return can_overflow(entry) ? std::min(entry.waiting.size(), direct_room(entry)) : entry.waiting.size();
  }
  [[nodiscard]] std::size_t shared_needed(const Entry& entry) const noexcept {
    if (entry.waiting.empty()) return 0;
    const std::size_t there = entry.shared.size();
    const std::size_t to_spread = there < spread_ ? std::min((entry.waiting.size() + 1) / 2, spread_ - there) : 0;
    return std::max({to_spread, (entry.waiting.size() + streams_max_ - 1) / streams_max_});
  }
  std::unordered_map<PoolKey, std::uint32_t, PoolKeyHash> numbers_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::size_t idle_max_;
  std::size_t streams_max_;
  std::size_t spread_;
  std::size_t direct_max_;
  std::size_t making_total_ = 0;
  std::size_t idle_total_ = 0;
  std::uint32_t cursor_ = 0;
};

}  // namespace culvert::proxy
