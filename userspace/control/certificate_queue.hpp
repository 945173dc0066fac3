// SPDX-License-Identifier: Apache-2.0
// CertificateQueue: identities whose certificate is to be asked for, the most urgent first, in order of arrival among equals. An identity
// is in it once at most. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "base/spiffe_id.hpp"

namespace culvert::control {

// In order of urgency.
enum class CertificateUrgency : std::uint8_t {
  Waiting,  // a pod has no certificate: its connections wait
  WarmUp,   // its pod is expected
  Refresh,  // there is one, and it goes on serving
};

class CertificateQueue {
 public:
  // Already in it: keeps the more urgent of the two, with the place that it has among those.
  void push(const SpiffeId& identity, CertificateUrgency urgency) {
    const auto known = places_.find(identity);
    if (known != places_.end()) {
      if (known->second.first <= urgency) return;
      order_.erase(known->second);
      places_.erase(known);
    }
    const Place place(urgency, next_++);
    order_.emplace(place, places_.emplace(identity, place).first->first);
  }
  [[nodiscard]] std::optional<SpiffeId> pop() {
    if (order_.empty()) return std::nullopt;
    std::optional<SpiffeId> identity(order_.begin()->second);
    order_.erase(order_.begin());
    places_.erase(*identity);
    return identity;
  }
  void remove(const SpiffeId& identity) {
    const auto known = places_.find(identity);
    if (known == places_.end()) return;
    order_.erase(known->second);
    places_.erase(known);
  }
  [[nodiscard]] bool contains(const SpiffeId& identity) const { return places_.contains(identity); }
  [[nodiscard]] bool empty() const noexcept { return order_.empty(); }

 private:
  using Place = std::pair<CertificateUrgency, std::uint64_t>;
  std::map<Place, SpiffeId> order_;
  std::map<SpiffeId, Place> places_;
  std::uint64_t next_ = 0;
};

}  // namespace culvert::control
