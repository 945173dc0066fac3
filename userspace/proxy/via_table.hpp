// SPDX-License-Identifier: Apache-2.0
// ViaTable: one small number for each way through a network gateway, so that a pool key is a few bytes. Grows only by services of other
// networks that were dialled. One worker, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/address.hpp"

namespace culvert::proxy {

struct Via {
  Endpoint gateway;
  std::uint32_t accepted = 0;  // identities of the gateway: a number of the AcceptedTable
  std::string authority;       // what the gateway is asked for
  std::uint32_t service = 0;   // Flow::service
};

class ViaTable {
 public:
  // 0 is never given.
  [[nodiscard]] std::uint32_t intern(const Via& via) {
    const auto [place, is_new] = numbers_.try_emplace(std::tuple(via.gateway, via.accepted, via.authority),
                                                      static_cast<std::uint32_t>(vias_.size() + 1));
    if (is_new) vias_.push_back(via);
    return place->second;
  }
  // `number` was given by intern.
  [[nodiscard]] const Via& operator[](std::uint32_t number) const noexcept { return vias_[number - 1]; }

 private:
  std::map<std::tuple<Endpoint, std::uint32_t, std::string>, std::uint32_t> numbers_;
  std::vector<Via> vias_;
};

}  // namespace culvert::proxy
