// SPDX-License-Identifier: Apache-2.0
// The part of check_config that is about workloads and services: what stands once, and that every name that is referred to is defined. Pure;
// linear in the size of the mesh.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>

#include "control/config.hpp"
#include "control/config_check.hpp"

namespace culvert::control {

// Remembers where a thing stood first.
template <typename Key, typename Hash = std::hash<Key>>
class Once {
 public:
  // Null when `key` is new, else the place of the first.
  const std::string* claim(const Key& key, std::string place) {
    const auto [entry, is_new] = first_.try_emplace(key, std::move(place));
    return is_new ? nullptr : &entry->second;
  }

 private:
  std::unordered_map<Key, std::string, Hash> first_;
};

// Who has an address in the agent's own network.
struct AddressOwner {
  std::string place;     // "mesh.workloads[3]"
  std::string identity;  // NAMESPACE/SERVICE_ACCOUNT
};
using AddressOwners = std::unordered_map<IpAddress, AddressOwner>;

[[nodiscard]] std::string identity_text(const std::string& namespace_name, const std::string& service_account);

// Each gives false when no more mistakes are wanted.
[[nodiscard]] bool check_workloads(const Config& config, AddressOwners& owners, const ReportMistake& report);
[[nodiscard]] bool check_services(const Config& config, const ReportMistake& report);
[[nodiscard]] bool check_references(const Config& config, const ReportMistake& report);
[[nodiscard]] bool check_policies(const Config& config, const ReportMistake& report);

}  // namespace culvert::control
