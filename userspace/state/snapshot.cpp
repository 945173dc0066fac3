// SPDX-License-Identifier: Apache-2.0
// Asking the snapshot: by every worker, without locks or allocation.
#include "state/snapshot.hpp"

#include <algorithm>
#include <initializer_list>

namespace culvert::state {
namespace {

bool is_visible(const Service& service, std::string_view client_namespace) noexcept {
  return service.visibility == Visibility::Public || service.namespace_name == client_namespace;
}

// Keeps the best of the services that it is shown, in the order in which they were added.
class BestService {
 public:
  explicit BestService(std::optional<std::string_view> client_namespace) : client_namespace_(client_namespace) {}

  void show(const Service& service) noexcept {
    if (client_namespace_ && !is_visible(service, *client_namespace_)) return;
    const int rank = client_namespace_ && service.namespace_name == *client_namespace_ ? 2
                     : service.is_canonical                                            ? 1
                                                                                       : 0;
    if (best_ != nullptr && rank <= rank_) return;
    best_ = &service;
    rank_ = rank;
  }
  [[nodiscard]] const Service* best() const noexcept { return best_; }

 private:
  std::optional<std::string_view> client_namespace_;
  const Service* best_ = nullptr;
  int rank_ = 0;
};

}  // namespace

std::uint32_t Snapshot::network_number(std::string_view network) const noexcept {
  return network.empty() || network == names_->text(kOwnNetwork) ? kOwnNetwork : names_->find(network);
}

std::uint32_t Snapshot::find_number(std::uint32_t network, const IpAddress& address) const noexcept {
  return by_address_.find(hash_of(network, address), [&](std::uint32_t number) {
    const WorkloadEntry& entry = *workloads_[number];
    return std::ranges::find(entry.addresses(), address) != entry.addresses().end() &&
           entry.traits().network == network;
  });
}

std::uint32_t Snapshot::find_sharers(std::uint32_t network, const IpAddress& address) const noexcept {
  return by_vip_.find(hash_of(network, address), [&](std::uint32_t number) {
    return vips_[number]->network == network && vips_[number]->address == address;
  });
}

const WorkloadEntry* Snapshot::find(const IpAddress& address) const noexcept {
  const std::uint32_t found = find_number(kOwnNetwork, address);
  return found == SharedIndex::kNone ? nullptr : workloads_[found].get();
}

const WorkloadEntry* Snapshot::find(std::string_view network, const IpAddress& address) const noexcept {
  const std::uint32_t number = network_number(network);
  if (number == NameTable::kNone) return nullptr;
  const std::uint32_t found = find_number(number, address);
  return found == SharedIndex::kNone ? nullptr : workloads_[found].get();
}

const WorkloadEntry* Snapshot::find_uid(std::string_view uid) const noexcept {
  const std::uint32_t found =
      by_uid_.find(hash_of(uid), [&](std::uint32_t number) { return workloads_[number]->uid() == uid; });
  return found == SharedIndex::kNone ? nullptr : workloads_[found].get();
}

const WorkloadEntry* Snapshot::find_workload(std::string_view namespace_name,
                                             std::string_view hostname) const noexcept {
  const std::uint32_t found = workload_by_hostname_.find(hash_of(namespace_name, hostname), [&](std::uint32_t number) {
    return workloads_[number]->hostname() == hostname && workloads_[number]->namespace_name() == namespace_name;
  });
  return found == SharedIndex::kNone ? nullptr : workloads_[found].get();
}

const WorkloadEntry* Snapshot::find_pod(std::string_view uid, std::string_view namespace_name, std::string_view name,
                                        std::string_view service_account) const noexcept {
  const WorkloadEntry* called = find_uid(uid);
  if (called != nullptr && called->identity().service_account == service_account) return called;
  const std::uint32_t found = own_.find(hash_of(namespace_name, name), [&](std::uint32_t number) {
    const WorkloadEntry& entry = *workloads_[number];
    return entry.name() == name && entry.namespace_name() == namespace_name &&
           entry.identity().service_account == service_account;
  });
  return found == SharedIndex::kNone ? nullptr : workloads_[found].get();
}

const Service* Snapshot::find_vip(std::string_view network, const IpAddress& address,
                                  std::optional<std::string_view> client_namespace) const noexcept {
  const std::uint32_t number = network_number(network);
  if (number == NameTable::kNone) return nullptr;
  const std::uint32_t found = find_sharers(number, address);
  return found == SharedIndex::kNone ? find_range(number, address, client_namespace) : best_of(found, client_namespace);
}

const Service* Snapshot::best_of(std::uint32_t sharers,
                                 std::optional<std::string_view> client_namespace) const noexcept {
  BestService best(client_namespace);
  for (const std::uint32_t service : vips_[sharers]->services) best.show(*services_[service].entry);
  return best.best();
}

Snapshot::Owner Snapshot::find_owner(std::string_view network, const IpAddress& address,
                                     std::optional<std::string_view> client_namespace) const noexcept {
  const std::uint32_t number = network_number(network);
  if (number == NameTable::kNone) return {};
  const std::uint32_t sharers = find_sharers(number, address);
  if (sharers != SharedIndex::kNone) {
    if (const Service* service = best_of(sharers, client_namespace)) return {service, nullptr};
  }
  const std::uint32_t workload = find_number(number, address);
  if (workload != SharedIndex::kNone) return {nullptr, workloads_[workload].get()};
  return {sharers == SharedIndex::kNone ? find_range(number, address, client_namespace) : nullptr, nullptr};
}

bool Snapshot::has_vip(std::string_view network, const IpAddress& address) const noexcept {
  const std::uint32_t number = network_number(network);
  return number != NameTable::kNone && find_sharers(number, address) != SharedIndex::kNone;
}

const Service* Snapshot::find_range(std::uint32_t network, const IpAddress& address,
                                    std::optional<std::string_view> client_namespace) const noexcept {
  if (ranges_.is_empty()) return nullptr;
  const Service* narrowest = nullptr;
  const Service* own = nullptr;
  ranges_.find(network, address, [&](const std::vector<std::uint32_t>& services) {
    BestService best(client_namespace);
    for (const std::uint32_t service : services) best.show(*services_[service].entry);
    if (best.best() == nullptr) return false;
    if (narrowest == nullptr) narrowest = best.best();
    if (!client_namespace) return true;
    if (best.best()->namespace_name == *client_namespace) own = best.best();
    return own != nullptr;
  });
  return own != nullptr ? own : narrowest;
}

const Service* Snapshot::find_service(std::string_view namespace_name, std::string_view hostname) const noexcept {
  const std::uint32_t found = service_by_name_.find(hash_of(namespace_name, hostname), [&](std::uint32_t number) {
    const ServiceEntry& entry = *services_[number].entry;
    return entry.hostname == hostname && entry.namespace_name == namespace_name;
  });
  return found == SharedIndex::kNone ? nullptr : services_[found].entry.get();
}

const Service* Snapshot::find_hostname(std::string_view hostname, std::string_view client_namespace) const noexcept {
  if (const Service* own = find_service(client_namespace, hostname); own != nullptr) return own;
  const std::uint32_t found = by_hostname_.find(hash_of(hostname), [&](std::uint32_t number) {
    return services_[hostnames_[number]->services.front()].entry->hostname == hostname;
  });
  if (found == SharedIndex::kNone) return nullptr;
  BestService best(client_namespace);
  for (const std::uint32_t service : hostnames_[found]->services) best.show(*services_[service].entry);
  return best.best();
}

PeerAuthMode PeerAuthModes::of(std::string_view namespace_name, std::string_view workload_name) const noexcept {
  if (!workloads_.empty()) {
    const auto of_workload = workloads_.find(WorkloadName{namespace_name, workload_name});
    if (of_workload != workloads_.end()) return of_workload->second;
  }
  const auto of_namespace = namespaces_.find(namespace_name);
  return of_namespace == namespaces_.end() ? mesh_ : of_namespace->second;
}

std::uint64_t name_hash_of(const Service& service) noexcept {
  return hash_of_texts({service.hostname, service.namespace_name, service.name});
}

}  // namespace culvert::state
