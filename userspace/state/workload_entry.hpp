// SPDX-License-Identifier: Apache-2.0
// WorkloadEntry: a workload as the state keeps it: a hundred bytes and its uid, since all that the pods of one deployment or of one node have in
// common is in a profile and a place that they share. Immutable; read by any thread; what is asked of it lives as long as the snapshot that it came from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/snapshot_index.hpp"
#include "state/workload.hpp"

namespace culvert::state {

// What a decision asks of a workload's profile. Two names are equal when their numbers are.
struct WorkloadTraits {
  std::uint32_t network = NameTable::kNone;
  std::uint32_t cluster = NameTable::kNone;
  bool has_gateway = false;  // to its network
  bool has_application_tunnel = false;
  bool has_waypoint = false;
  bool has_tunnel = false;  // Protocol::Tunnel
};

struct SharedProfile : WorkloadProfile {
  WorkloadTraits traits;
};

struct ProfileHash {
  [[nodiscard]] std::size_t operator()(const WorkloadProfile& profile) const noexcept;
};

// Likewise of its place.
struct SharedPlace : WorkloadPlace {
  std::uint32_t region_number = NameTable::kNone;
  std::uint32_t zone_number = NameTable::kNone;
  std::uint32_t subzone_number = NameTable::kNone;
};

struct PlaceHash {
  [[nodiscard]] std::size_t operator()(const WorkloadPlace& place) const noexcept;
};

class WorkloadEntry {
 public:
  // `profile` and `place` are those parts of `workload`.
  WorkloadEntry(const Workload& workload, std::shared_ptr<const SharedProfile> profile,
                std::shared_ptr<const SharedPlace> place, std::uint32_t number);

  [[nodiscard]] std::string_view uid() const noexcept { return {text_.get(), uid_bytes_}; }
  [[nodiscard]] std::string_view name() const noexcept { return {text_.get() + name_begin_, name_bytes_}; }
  [[nodiscard]] std::span<const IpAddress> addresses() const noexcept {
    if (more_addresses_ != nullptr) return *more_addresses_;
    return {&address_, has_sole_address_ ? std::size_t{1} : std::size_t{0}};
  }
  [[nodiscard]] bool is_healthy() const noexcept { return is_healthy_; }
  [[nodiscard]] std::optional<std::uint64_t> version() const noexcept {
    return has_version_ ? std::optional(version_) : std::nullopt;
  }

  // Of the profile.
  [[nodiscard]] std::string_view namespace_name() const noexcept { return profile_->namespace_name; }
  [[nodiscard]] const SpiffeId& identity() const noexcept { return profile_->identity; }
  [[nodiscard]] std::string_view network() const noexcept { return profile_->network; }
  [[nodiscard]] std::string_view cluster() const noexcept { return profile_->cluster; }
  [[nodiscard]] std::string_view canonical_name() const noexcept { return or_name(profile_->canonical_name); }
  [[nodiscard]] std::string_view canonical_revision() const noexcept { return profile_->canonical_revision; }
  [[nodiscard]] std::string_view workload_name() const noexcept { return or_name(profile_->workload_name); }
  [[nodiscard]] const std::string& hostname() const noexcept { return profile_->hostname; }
  [[nodiscard]] const Rare<GatewayRef>& waypoint() const noexcept { return profile_->waypoint; }
  [[nodiscard]] const Rare<GatewayRef>& network_gateway() const noexcept { return profile_->network_gateway; }
  [[nodiscard]] std::span<const ServiceMembership> services() const noexcept { return profile_->services; }
  [[nodiscard]] std::span<const std::string> authorization_policies() const noexcept {
    return profile_->authorization_policies;
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return profile_->capacity; }
  [[nodiscard]] const std::optional<ApplicationTunnel>& application_tunnel() const noexcept {
    return profile_->application_tunnel;
  }
  [[nodiscard]] Protocol protocol() const noexcept { return profile_->protocol; }
  [[nodiscard]] WorkloadType type() const noexcept { return profile_->type; }
  [[nodiscard]] bool is_host_network() const noexcept { return profile_->is_host_network; }
  [[nodiscard]] bool is_tunnel_native() const noexcept { return profile_->is_tunnel_native; }
  [[nodiscard]] bool is_provisional() const noexcept { return profile_->is_provisional; }

  // Of the place.
  [[nodiscard]] std::string_view node() const noexcept { return place_->node; }
  [[nodiscard]] std::string_view region() const noexcept { return place_->region; }
  [[nodiscard]] std::string_view zone() const noexcept { return place_->zone; }
  [[nodiscard]] std::string_view subzone() const noexcept { return place_->subzone; }

  // For the store and its decisions.
  [[nodiscard]] std::uint32_t number() const noexcept { return number_; }
  // Of everything that metrics call it by: equal for two that are called alike.
  [[nodiscard]] std::uint64_t name_hash() const noexcept { return name_hash_; }
  [[nodiscard]] const SharedProfile& profile() const noexcept { return *profile_; }
  [[nodiscard]] const SharedPlace& place() const noexcept { return *place_; }
  [[nodiscard]] const WorkloadTraits& traits() const noexcept { return profile_->traits; }
  // Null where it has none or several.
  [[nodiscard]] const IpAddress* sole_address() const noexcept { return has_sole_address_ ? &address_ : nullptr; }
  // Or a hostname.
  [[nodiscard]] bool is_addressable() const noexcept {
    return has_sole_address_ || more_addresses_ != nullptr || !profile_->hostname.empty();
  }

 private:
  [[nodiscard]] std::string_view or_name(const std::string& text) const noexcept {
    return text.empty() ? name() : std::string_view(text);
  }

  std::shared_ptr<const SharedProfile> profile_;
  std::shared_ptr<const SharedPlace> place_;
  std::unique_ptr<const char[]> text_;                            // the uid, and the name: as its end, or behind it
  std::unique_ptr<const std::vector<IpAddress>> more_addresses_;  // null: one at most
  IpAddress address_;
  std::uint64_t version_ = 0;
  std::uint64_t name_hash_;
  std::uint32_t number_;
  std::uint32_t uid_bytes_;
  std::uint32_t name_begin_;
  std::uint32_t name_bytes_ : 28;
  std::uint32_t has_sole_address_ : 1;
  std::uint32_t is_healthy_ : 1;
  std::uint32_t has_version_ : 1;
};

}  // namespace culvert::state
