// SPDX-License-Identifier: Apache-2.0
// HandshakePlaces: how many handshakes a worker's servers have under way, in all and of one source address. Whoever connects and says nothing keeps a place until
// its time is over; so nobody gets all of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "base/address.hpp"

namespace culvert::proxy {

class HandshakePlaces {
 public:
  // Of all places, to one source address, once half of them are taken: a pod of a large node may need more than that for a moment, and has it while there is room.
  static constexpr std::uint32_t kPeerPart = 4;

  // False: none is left for this peer. `most` places in all, which may change between calls.
  [[nodiscard]] bool take(const IpAddress& peer, std::uint32_t most) {
    if (taken_ >= most) return false;
    const auto place = peers_.find(peer);
    const std::uint32_t of_peer = place == peers_.end() ? 0 : place->second;
    if (taken_ >= most / 2 && of_peer >= std::max(1U, most / kPeerPart)) return false;
    ++peers_[peer];
    ++taken_;
    return true;
  }
  void give_back(const IpAddress& peer) {
    const auto place = peers_.find(peer);
    --taken_;
    if (--place->second == 0) peers_.erase(place);
  }
  [[nodiscard]] std::uint32_t taken() const noexcept { return taken_; }
  [[nodiscard]] std::size_t peers() const noexcept { return peers_.size(); }

 private:
  std::unordered_map<IpAddress, std::uint32_t> peers_;  // those that have a place
  std::uint32_t taken_ = 0;
};

}  // namespace culvert::proxy
