// SPDX-License-Identifier: Apache-2.0
// Services of the Store: by name, virtual address and hostname, and the tables of their endpoints.
#include <algorithm>
#include <utility>

#include "state/store.hpp"

namespace culvert::state {

std::uint32_t Store::service_number(std::string_view namespace_name, std::string_view hostname) const {
  const Service* found = now_.find_service(namespace_name, hostname);
  return found == nullptr ? SharedIndex::kNone : static_cast<const ServiceEntry&>(*found).number;
}

void Store::upsert(const Service& service) {
  auto made = std::make_shared<ServiceEntry>();
  static_cast<Service&>(*made) = service;
  for (NetworkAddress& vip : made->vips) {
    if (vip.network.empty()) vip.network = now_.network();
    static_cast<void>(intern(vip.network));
  }
  made->traits = {.lb_mode = made->lb_mode,
                  .ip_families = made->ip_families,
                  .is_public = made->visibility == Visibility::Public,
                  .has_waypoint = made->waypoint || !made->weighted_waypoints.empty()};
  made->name_hash = name_hash_of(*made);
  const std::uint32_t known = service_number(made->namespace_name, made->hostname);
  if (known != SharedIndex::kNone) {
    made->number = known;
    const std::shared_ptr<const ServiceEntry> old = now_.services_[known].entry;
    // Nothing that it is found by has changed: its place among those that share an address with it stays.
    const bool is_listed_alike = old->vips == made->vips;
    if (!is_listed_alike) list_service(*old, false);
    list_endpoints(*old, false);
    now_.services_.edit(known).entry = made;
    if (!is_listed_alike) list_service(*made, true);
  } else {
    made->number = service_numbers_.take();
    now_.services_.grow_to(service_numbers_.end());
    now_.services_.edit(made->number) = {made, std::make_shared<const EndpointTable>()};
    now_.service_by_name_.insert(hash_of(made->namespace_name, made->hostname), made->number);
    list_service(*made, true);
  }
  list_endpoints(*made, true);
  changed_services_.insert(made->number);
}

bool Store::remove_service(std::string_view namespace_name, std::string_view hostname) {
  const std::uint32_t number = service_number(namespace_name, hostname);
  if (number == SharedIndex::kNone) return false;
  const std::shared_ptr<const ServiceEntry> old = now_.services_[number].entry;
  list_service(*old, false);
  list_endpoints(*old, false);
  now_.service_by_name_.erase(hash_of(old->namespace_name, old->hostname), number);
  now_.services_.edit(number) = {};
  service_numbers_.give(number);
  return true;
}

void Store::list_service(const ServiceEntry& entry, bool is_added) {
  for (const NetworkAddress& vip : entry.vips) list_vip(entry, vip, is_added);
  list_hostname(entry, is_added);
}

void Store::list_vip(const ServiceEntry& entry, const NetworkAddress& vip, bool is_added) {
  const std::uint32_t network = now_.network_number(vip.network);
  if (!vip.is_whole()) {
    const Cidr range{vip.address, vip.prefix_bits};
    return is_added ? now_.ranges_.add(network, range, entry.number)
                    : now_.ranges_.remove(network, range, entry.number);
  }
  std::uint32_t at = now_.find_sharers(network, vip.address);
  if (at == SharedIndex::kNone) {
    if (!is_added) return;
    at = vip_numbers_.take();
    now_.vips_.grow_to(vip_numbers_.end());
    now_.vips_.edit(at) =
        std::make_shared<const Snapshot::Sharers>(Snapshot::Sharers{network, vip.address, {entry.number}});
    now_.by_vip_.insert(hash_of(network, vip.address), at);
    return;
  }
  auto sharers = std::make_shared<Snapshot::Sharers>(*now_.vips_[at]);
  std::erase(sharers->services, entry.number);
  if (is_added) sharers->services.push_back(entry.number);
  if (sharers->services.empty()) {
    now_.by_vip_.erase(hash_of(network, vip.address), at);
    now_.vips_.edit(at) = nullptr;
    vip_numbers_.give(at);
  } else {
    now_.vips_.edit(at) = std::move(sharers);
  }
}

void Store::list_hostname(const ServiceEntry& entry, bool is_added) {
  const std::uint32_t hash = hash_of(entry.hostname);
  std::uint32_t at = now_.by_hostname_.find(hash, [&](std::uint32_t number) {
    return now_.services_[now_.hostnames_[number]->services.front()].entry->hostname == entry.hostname;
  });
  if (at == SharedIndex::kNone) {
    if (!is_added) return;
    at = hostname_numbers_.take();
    now_.hostnames_.grow_to(hostname_numbers_.end());
    now_.hostnames_.edit(at) = std::make_shared<const Snapshot::Sharers>(Snapshot::Sharers{0, {}, {entry.number}});
    now_.by_hostname_.insert(hash, at);
    return;
  }
  auto sharers = std::make_shared<Snapshot::Sharers>(*now_.hostnames_[at]);
  std::erase(sharers->services, entry.number);
  if (is_added) sharers->services.push_back(entry.number);
  if (sharers->services.empty()) {
    now_.by_hostname_.erase(hash, at);
    now_.hostnames_.edit(at) = nullptr;
    hostname_numbers_.give(at);
  } else {
    now_.hostnames_.edit(at) = std::move(sharers);
  }
}

void Store::list_endpoints(const ServiceEntry& entry, bool is_added) {
  for (const ServiceEndpoint& endpoint : entry.endpoints) {
    if (is_added) {
      named_[endpoint.workload_uid].push_back(entry.number);
      continue;
    }
    const auto found = named_.find(endpoint.workload_uid);
    if (found == named_.end()) continue;
    std::erase(found->second, entry.number);
    if (found->second.empty()) named_.erase(found);
  }
}

void Store::touch_services_that_name(std::string_view uid) {
  if (const auto found = named_.find(uid); found != named_.end()) {
    changed_services_.insert(found->second.begin(), found->second.end());
  }
}

std::shared_ptr<const EndpointTable> Store::make_table(const ServiceEntry& service) const {
  auto table = std::make_shared<EndpointTable>();
  std::vector<EndpointRow> unusable;
  std::uint64_t weight = 0;
  const auto place_of = [&table](const std::vector<ServicePort>& own_ports) {
    if (own_ports.empty()) return EndpointRow::kServicePorts;
    std::vector<const std::vector<ServicePort>*>& lists = table->port_lists;
    // Neighbours come from one profile, mostly.
    if (lists.empty() || *lists.back() != own_ports) lists.push_back(&own_ports);
    return static_cast<std::uint32_t>(lists.size() - 1);
  };
  const auto add = [&](const WorkloadEntry& workload, const std::vector<ServicePort>& own_ports) {
    EndpointRow row{0, workload.number(), place_of(own_ports)};
    if (!workload.is_healthy() && service.health_policy == HealthPolicy::OnlyHealthy) {
      unusable.push_back(row);
      return;
    }
    weight += workload.capacity();
    row.weight_end = weight;
    table->rows.push_back(row);
    table->all_have_addresses = table->all_have_addresses && workload.is_addressable();
  };
  for (const ServiceEndpoint& endpoint : service.endpoints) {
    const WorkloadEntry* workload = now_.find_uid(endpoint.workload_uid);
    if (workload != nullptr) add(*workload, endpoint.ports);
  }
  if (const auto members = members_.find({service.namespace_name, service.hostname}); members != members_.end()) {
    table->rows.reserve(members->second.size());
    for (const std::uint32_t number : members->second) {
      const WorkloadEntry& workload = *now_.workloads_[number];
      const auto own = std::ranges::find_if(workload.services(), [&](const ServiceMembership& one) {
        return one.hostname == service.hostname && one.namespace_name == service.namespace_name;
      });
      add(workload, own->ports);
    }
  }
  table->usable = static_cast<std::uint32_t>(table->rows.size());
  table->rows.insert(table->rows.end(), unusable.begin(), unusable.end());
  return table;
}

std::optional<Store::Staged> Store::staged_after(const std::optional<ServiceName>& after) const {
  for (auto at = after ? members_.upper_bound(*after) : members_.begin(); at != members_.end(); ++at) {
    if (now_.find_service(at->first.first, at->first.second) == nullptr) return Staged{at->first, at->second};
  }
  return std::nullopt;
}

}  // namespace culvert::state
