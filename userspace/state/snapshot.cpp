// SPDX-License-Identifier: Apache-2.0
// Asking the snapshot: by every worker, without locks or allocation.
#include "state/snapshot.hpp"

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
  return network.empty() || network == names_.text(kOwnNetwork) ? kOwnNetwork : names_.find(network);
}

const Workload* Snapshot::find(const IpAddress& address) const noexcept {
  const std::uint32_t entry = by_address_.find(kOwnNetwork, address);
  return entry == AddressTable::kNone ? nullptr : &workloads_[by_address_.entry(entry).owner];
}

const Workload* Snapshot::find(std::string_view network, const IpAddress& address) const noexcept {
  const std::uint32_t number = network_number(network);
  if (number == NameTable::kNone) return nullptr;
  const std::uint32_t entry = by_address_.find(number, address);
  return entry == AddressTable::kNone ? nullptr : &workloads_[by_address_.entry(entry).owner];
}

const Workload* Snapshot::find_uid(std::string_view uid) const noexcept {
  const std::uint32_t found =
      by_uid_.find(hash_of(uid), [&](std::uint32_t number) { return workloads_[number].uid == uid; });
  return found == FlatIndex::kNone ? nullptr : &workloads_[found];
}

const Workload* Snapshot::find_workload(std::string_view namespace_name, std::string_view hostname) const noexcept {
  const std::uint32_t found = workload_by_hostname_.find(hash_of(namespace_name, hostname), [&](std::uint32_t number) {
    return workloads_[number].hostname == hostname && workloads_[number].namespace_name == namespace_name;
  });
  return found == FlatIndex::kNone ? nullptr : &workloads_[found];
}

const Service* Snapshot::find_vip(std::string_view network, const IpAddress& address,
                                  std::optional<std::string_view> client_namespace) const noexcept {
  const std::uint32_t number = network_number(network);
  if (number == NameTable::kNone) return nullptr;
  std::uint32_t at = by_vip_.find(number, address);
  if (at == AddressTable::kNone) return nullptr;
  if (const AddressTable::Entry& only = by_vip_.entry(at); only.next == AddressTable::kNone) {
    const Service& service = services_[only.owner];  // not read where everybody sees it
    const bool is_seen =
        service_traits_[only.owner].is_public || !client_namespace || is_visible(service, *client_namespace);
    return is_seen ? &service : nullptr;
  }
  BestService best(client_namespace);
  for (; at != AddressTable::kNone; at = by_vip_.entry(at).next) best.show(services_[by_vip_.entry(at).owner]);
  return best.best();
}

const Service* Snapshot::find_service(std::string_view namespace_name, std::string_view hostname) const noexcept {
  const std::uint32_t found = service_by_name_.find(hash_of(namespace_name, hostname), [&](std::uint32_t number) {
    return services_[number].hostname == hostname && services_[number].namespace_name == namespace_name;
  });
  return found == FlatIndex::kNone ? nullptr : &services_[found];
}

const Service* Snapshot::find_hostname(std::string_view hostname, std::string_view client_namespace) const noexcept {
  if (const Service* own = find_service(client_namespace, hostname); own != nullptr) return own;
  BestService best(client_namespace);
  for (std::uint32_t at = service_by_hostname_.find(
           hash_of(hostname), [&](std::uint32_t number) { return services_[number].hostname == hostname; });
       at != FlatIndex::kNone; at = next_same_hostname_[at]) {
    best.show(services_[at]);
  }
  return best.best();
}

PeerAuthMode Snapshot::peer_auth(std::string_view namespace_name, std::string_view workload_name) const noexcept {
  if (!workload_modes_.empty()) {
    const auto of_workload = workload_modes_.find(WorkloadName{namespace_name, workload_name});
    if (of_workload != workload_modes_.end()) return of_workload->second;
  }
  const auto of_namespace = namespace_modes_.find(namespace_name);
  return of_namespace == namespace_modes_.end() ? mesh_mode_ : of_namespace->second;
}

}  // namespace culvert::state
