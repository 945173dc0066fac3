// SPDX-License-Identifier: Apache-2.0
// Workloads, policies and modes; services are in store_services.cpp.
#include "state/store.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

namespace culvert::state {
namespace {

// Changed here, while snapshots keep the old one.
template <typename T>
T& own(std::shared_ptr<T>& shared) {
  if (shared.use_count() == 1) {
    std::atomic_thread_fence(std::memory_order_acquire);  // see SharedArray::own
  } else {
    shared = std::make_shared<T>(*shared);
  }
  return *shared;
}

int rank_of(const WorkloadEntry& entry) {
  return (entry.uid().find("//Pod/") != std::string_view::npos ? 2 : 0) + (entry.traits().has_tunnel ? 1 : 0);
}

}  // namespace

Store::Store(std::string_view network) {
  static_cast<void>(now_.names_->intern(network));  // the first: kOwnNetwork
}

std::uint32_t Store::intern(std::string_view name) {
  const std::uint32_t known = now_.names_->find(name);
  return known != NameTable::kNone ? known : own(now_.names_).intern(name);
}

void Store::upsert(Workload workload) {
  if (workload.network.empty()) workload.network = now_.network();
  if (workload.canonical_revision.empty()) workload.canonical_revision = "latest";
  const WorkloadEntry* old = now_.find_uid(workload.uid);
  const std::uint32_t number = old != nullptr ? old->number() : workload_numbers_.take();
  // Its place among those that share its hostname stays: what refers to that does not go elsewhere for every change.
  const bool is_named_alike =
      old != nullptr && old->hostname() == workload.hostname && old->namespace_name() == workload.namespace_name;
  // Before the old one lets go of what they may share.
  auto made = std::make_shared<const WorkloadEntry>(workload, take_profile(workload), take_place(workload), number);
  if (old != nullptr) {
    if (!is_named_alike) remove_hostname(*old);
    take_out(*old);
  } else {
    now_.workloads_.grow_to(workload_numbers_.end());
    now_.by_uid_.insert(hash_of(made->uid()), number);
  }
  const WorkloadEntry& entry = *made;
  now_.workloads_.edit(number) = std::move(made);
  put_in(entry);
  if (!is_named_alike) add_hostname(entry);
}

bool Store::remove_workload(std::string_view uid) {
  const WorkloadEntry* found = now_.find_uid(uid);
  if (found == nullptr) return false;
  const std::uint32_t number = found->number();
  remove_hostname(*found);
  take_out(*found);
  now_.by_uid_.erase(hash_of(uid), number);
  now_.workloads_.edit(number) = nullptr;
  workload_numbers_.give(number);
  return true;
}

std::shared_ptr<const SharedProfile> Store::take_profile(const WorkloadProfile& profile) {
  return profiles_.take(profile, [&] {
    const std::uint32_t network =
        now_.network_number(profile.network) == Snapshot::kOwnNetwork ? Snapshot::kOwnNetwork : intern(profile.network);
    const WorkloadTraits traits{.network = network,
                                .cluster = intern(profile.cluster),
                                .has_gateway = profile.network_gateway.has_value(),
                                .has_application_tunnel = profile.application_tunnel.has_value(),
                                .has_waypoint = profile.waypoint.has_value(),
                                .has_tunnel = profile.protocol == Protocol::Tunnel};
    return std::make_shared<const SharedProfile>(SharedProfile{profile, traits});
  });
}

std::shared_ptr<const SharedPlace> Store::take_place(const WorkloadPlace& place) {
  return places_.take(place, [&] {
    return std::make_shared<const SharedPlace>(
        SharedPlace{place, intern(place.region), intern(place.zone), intern(place.subzone)});
  });
}

// Everything but uid and hostname.
void Store::put_in(const WorkloadEntry& entry) {
  if (!entry.is_host_network()) {
    for (const IpAddress& address : entry.addresses()) add_address(entry, address);
  }
  if (is_own(entry)) now_.own_.insert(hash_of(entry.namespace_name(), entry.name()), entry.number());
  for (const ServiceMembership& one : entry.services()) {
    members_[{one.namespace_name, one.hostname}].push_back(entry.number());
    if (const std::uint32_t service = service_number(one.namespace_name, one.hostname); service != SharedIndex::kNone) {
      changed_services_.insert(service);
    }
  }
  touch_services_that_name(entry.uid());
  count_identity(entry, 1);
}

void Store::take_out(const WorkloadEntry& entry) {
  if (!entry.is_host_network()) {
    for (const IpAddress& address : entry.addresses()) remove_address(entry, address);
  }
  if (is_own(entry)) now_.own_.erase(hash_of(entry.namespace_name(), entry.name()), entry.number());
  for (const ServiceMembership& one : entry.services()) {
    const auto found = members_.find({one.namespace_name, one.hostname});
    if (found == members_.end()) continue;
    std::erase(found->second, entry.number());
    if (found->second.empty()) members_.erase(found);
    if (const std::uint32_t service = service_number(one.namespace_name, one.hostname); service != SharedIndex::kNone) {
      changed_services_.insert(service);
    }
  }
  touch_services_that_name(entry.uid());
  count_identity(entry, -1);
  places_.give(entry.place());
  profiles_.give(entry.profile());
}

void Store::add_address(const WorkloadEntry& entry, const IpAddress& address) {
  const AddressKey key{entry.traits().network, address};
  const std::uint32_t first = now_.find_number(key.first, address);
  if (first == SharedIndex::kNone) {
    now_.by_address_.insert(hash_of(key.first, address), entry.number());
    return;
  }
  if (first == entry.number()) return;  // it has the address twice
  std::vector<std::uint32_t>& owners = shared_addresses_[key];
  if (owners.empty()) owners.push_back(first);
  if (std::ranges::find(owners, entry.number()) == owners.end()) owners.push_back(entry.number());
  elect(key, first, owners);
}

void Store::remove_address(const WorkloadEntry& entry, const IpAddress& address) {
  const AddressKey key{entry.traits().network, address};
  const auto shared = shared_addresses_.find(key);
  if (shared == shared_addresses_.end()) {
    if (now_.find_number(key.first, address) == entry.number()) {
      now_.by_address_.erase(hash_of(key.first, address), entry.number());
    }
    return;
  }
  const std::uint32_t was = now_.find_number(key.first, address);
  std::erase(shared->second, entry.number());
  elect(key, was, shared->second);
  if (shared->second.size() == 1) shared_addresses_.erase(shared);
}

void Store::elect(const AddressKey& key, std::uint32_t was, const std::vector<std::uint32_t>& owners) {
  const std::uint32_t best = *std::ranges::max_element(owners, [this](std::uint32_t a, std::uint32_t b) {
    return rank_of(*now_.workloads_[a]) < rank_of(*now_.workloads_[b]);
  });
  if (best == was) return;
  const std::uint32_t hash = hash_of(key.first, key.second);
  if (was != SharedIndex::kNone) now_.by_address_.erase(hash, was);
  now_.by_address_.insert(hash, best);
}

void Store::add_hostname(const WorkloadEntry& entry) {
  if (entry.hostname().empty()) return;
  const WorkloadEntry* first = now_.find_workload(entry.namespace_name(), entry.hostname());
  if (first == nullptr) {
    now_.workload_by_hostname_.insert(hash_of(entry.namespace_name(), entry.hostname()), entry.number());
    return;
  }
  std::vector<std::uint32_t>& owners = shared_hostnames_[{std::string(entry.namespace_name()), entry.hostname()}];
  if (owners.empty()) owners.push_back(first->number());
  owners.push_back(entry.number());
}

// The next one takes the place of the first.
void Store::remove_hostname(const WorkloadEntry& entry) {
  if (entry.hostname().empty()) return;
  const std::uint32_t hash = hash_of(entry.namespace_name(), entry.hostname());
  const bool is_first = now_.find_workload(entry.namespace_name(), entry.hostname()) == &entry;
  if (is_first) now_.workload_by_hostname_.erase(hash, entry.number());
  const auto shared = shared_hostnames_.find({std::string(entry.namespace_name()), entry.hostname()});
  if (shared == shared_hostnames_.end()) return;
  std::erase(shared->second, entry.number());
  if (is_first) now_.workload_by_hostname_.insert(hash, shared->second.front());
  if (shared->second.size() == 1) shared_hostnames_.erase(shared);
}

void Store::count_identity(const WorkloadEntry& entry, int by) {
  // A provisional one's pod asks for its certificate itself, once it is known who it is.
  if (!is_own(entry) || !(entry.traits().has_tunnel || entry.is_tunnel_native())) return;
  std::uint32_t& count = identities_[entry.identity()];
  count += static_cast<std::uint32_t>(by);
  const bool is_edge = by > 0 ? count == 1 : count == 0;
  if (count == 0) identities_.erase(entry.identity());
  if (!is_edge) return;
  int& change = identity_changes_[entry.identity()];
  change += by;
  if (change == 0) identity_changes_.erase(entry.identity());
}

Store::IdentityChanges Store::take_identity_changes() {
  IdentityChanges changes;
  for (auto& [identity, by] : identity_changes_) (by > 0 ? changes.added : changes.removed).push_back(identity);
  identity_changes_.clear();
  return changes;
}

void Store::upsert(Authorization policy) { own(now_.policies_).insert(std::move(policy)); }

bool Store::remove_authorization(std::string_view namespace_name, std::string_view name) {
  const std::string key = std::string(namespace_name) + "/" + std::string(name);
  return now_.policies_->find(key) != nullptr && own(now_.policies_).remove(namespace_name, name);
}

void Store::set_mesh_mode(PeerAuthMode mode) { own(now_.modes_).set_mesh(mode); }

void Store::set_namespace_mode(std::string_view namespace_name, PeerAuthMode mode) {
  own(now_.modes_).set_namespace(namespace_name, mode);
}

void Store::set_workload_mode(std::string_view namespace_name, std::string_view workload_name, PeerAuthMode mode) {
  own(now_.modes_).set_workload(namespace_name, workload_name, mode);
}

void Store::set_absent(std::string_view name, bool is_absent) {
  const std::uint32_t number = now_.absent_.find(name);
  if ((number != AbsentNames::kNone) == is_absent) return;
  if (is_absent) return now_.absent_.insert(name, absent_numbers_.take());
  now_.absent_.erase(name, number);
  absent_numbers_.give(number);
}

std::shared_ptr<const Snapshot> Store::publish() { return publish(now_.version_ + 1); }

std::shared_ptr<const Snapshot> Store::publish(std::uint64_t version) {
  for (const std::uint32_t number : changed_services_) {
    if (now_.services_[number].entry == nullptr) continue;
    now_.services_.edit(number).endpoints = make_table(*now_.services_[number].entry);
  }
  changed_services_.clear();
  now_.version_ = version;
  return std::make_shared<const Snapshot>(now_);
}

}  // namespace culvert::state
