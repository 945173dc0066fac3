// SPDX-License-Identifier: Apache-2.0
#include "dns/mesh_names.hpp"

#include <algorithm>
#include <array>

namespace culvert::dns {
namespace {

void add(std::vector<Candidate>& all, std::string name, const std::string& alias) {
  all.push_back({std::move(name), alias});
}

void add_with_short_forms(std::vector<Candidate>& all, std::string_view name, std::string_view namespace_name,
                          std::string_view domain, const std::string& alias) {
  add(all, std::string(name), alias);
  const auto labels = std::ranges::count(name, '.') + 1;
  const bool is_svc = name.ends_with(".svc");
  if (labels == 1) add(all, fmt::format("{}.{}.svc.{}", name, namespace_name, domain), alias);
  if (labels == 2) {
    add(all, fmt::format("{}.svc.{}", name, domain), alias);
    add(all, fmt::format("{}.{}.svc.{}", name, namespace_name, domain), alias);
  }
  if ((labels == 3 || labels == 4) && is_svc) add(all, fmt::format("{}.{}", name, domain), alias);
  if (labels == 3) add(all, fmt::format("{}.svc.{}", name, domain), alias);
}

// A range of addresses is none that an answer could give.
bool has_address(const state::Service& service) {
  return std::ranges::any_of(service.vips, &state::NetworkAddress::is_whole);
}

// A service with neither a virtual address nor a name of the cluster is none that DNS knows.
bool has_records(const state::Service& service, std::string_view domain) {
  if (has_address(service)) return true;
  std::string_view rest = service.hostname;
  if (!rest.ends_with(domain)) return false;
  rest.remove_suffix(domain.size());
  return rest.ends_with(".svc.");
}

struct Match {
  const state::Service* service = nullptr;
  std::string alias;
};

// The name itself, then with ever more of its first labels as one '*'.
Match match(const state::Snapshot& snapshot, const Client& client, std::string_view name) {
  const auto look = [&](std::string_view hostname) -> const state::Service* {
    const state::Service* found = snapshot.find_hostname(hostname, client.namespace_name);
    return found != nullptr && has_records(*found, client.domain) ? found : nullptr;
  };
  for (const Candidate& candidate : candidates(name, client.namespace_name, client.domain)) {
    if (const state::Service* found = look(candidate.name)) return {found, candidate.alias};
    std::string_view rest = candidate.name;
    for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      rest.remove_prefix(dot);
      if (const state::Service* found = look("*" + std::string(rest))) return {found, {}};
      rest.remove_prefix(1);
    }
  }
  return {};
}

void add_addresses(const state::Snapshot& snapshot, const Client& client, const state::Service& service, int family,
                   std::vector<IpAddress>& to) {
  for (const state::NetworkAddress& vip : service.vips) {
    const bool is_here = vip.network.empty() || vip.network == client.network;
    if (is_here && vip.is_whole() && vip.address.family() == family) to.push_back(vip.address);
  }
  if (has_address(service)) return;
  for (const state::EndpointRow& endpoint : snapshot.usable_endpoints(service)) {
    const std::span<const IpAddress> own = snapshot.workload(endpoint.workload).addresses();
    const auto first = std::ranges::find_if(own, [&](const IpAddress& one) { return one.family() == family; });
    if (first != own.end() && to.size() < kAddressesMax) to.push_back(*first);
  }
}

bool is_supported(state::IpFamilies families, int family) {
  if (families == state::IpFamilies::V4Only) return family == AF_INET;
  return families != state::IpFamilies::V6Only || family == AF_INET6;
}

}  // namespace

std::vector<Candidate> candidates(std::string_view name, std::string_view namespace_name, std::string_view domain) {
  std::vector<Candidate> all;
  add_with_short_forms(all, name, namespace_name, domain, {});
  const std::array<std::string, 3> search = {fmt::format(".{}.svc.{}", namespace_name, domain),
                                             fmt::format(".svc.{}", domain), fmt::format(".{}", domain)};
  for (const std::string& suffix : search) {
    if (!name.ends_with(suffix) || name.size() == suffix.size()) continue;
    const std::string stripped(name.substr(0, name.size() - suffix.size()));
    add_with_short_forms(all, stripped, namespace_name, domain, stripped);
  }
  return all;
}

Decision decide(const state::Snapshot& snapshot, const Client& client, const Query& query) {
  Decision decision;
  decision.result = "forwarded";
  const bool is_address = query.type == kTypeA || query.type == kTypeAaaa;
  if (!is_address || query.class_code != kClassInternet || !query.is_plain || query.name.empty()) return decision;
  const Match found = match(snapshot, client, query.name);
  if (found.service == nullptr) return decision;
  const int family = query.type == kTypeA ? AF_INET : AF_INET6;
  decision.is_forwarded = false;
  decision.answer.is_authoritative = true;
  if (!is_supported(found.service->ip_families, family)) {
    decision.result = "service does not support this record type";
    return decision;
  }
  decision.answer.alias = found.alias;
  add_addresses(snapshot, client, *found.service, family, decision.answer.addresses);
  decision.result = decision.answer.addresses.empty() ? "no records" : "success";
  return decision;
}

}  // namespace culvert::dns
