// SPDX-License-Identifier: Apache-2.0
// IdentityTable: one small number for each verified peer identity, so that a connection carries four bytes and not three
// strings. Grows only by identities that a trusted CA signed. One worker, one thread.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/spiffe_id.hpp"

namespace culvert::proxy {

class IdentityTable {
 public:
  // 0 is never given.
  [[nodiscard]] std::uint32_t intern(const SpiffeId& id) {
    const auto [place, is_new] = numbers_.try_emplace(id, static_cast<std::uint32_t>(ids_.size() + 1));
    if (is_new) ids_.push_back(&place->first);
    return place->second;
  }
  // Null for 0.
  [[nodiscard]] const SpiffeId* find(std::uint32_t number) const noexcept {
    return number == 0 || number > ids_.size() ? nullptr : ids_[number - 1];
  }

 private:
  std::unordered_map<SpiffeId, std::uint32_t> numbers_;
  std::vector<const SpiffeId*> ids_;
};

}  // namespace culvert::proxy
