// SPDX-License-Identifier: Apache-2.0
#include "state/workload_entry.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace culvert::state {

// What tells deployments apart. The rest is compared.
std::size_t ProfileHash::operator()(const WorkloadProfile& profile) const noexcept {
  std::size_t hash = std::hash<SpiffeId>{}(profile.identity);
  const auto mix = [&hash](std::string_view text) {
    hash = (hash ^ std::hash<std::string_view>{}(text)) * 0x9e37'79b9'7f4a'7c15ULL;
  };
  mix(profile.canonical_name);
  mix(profile.canonical_revision);
  mix(profile.workload_name);
  mix(profile.hostname);
  for (const ServiceMembership& one : profile.services) mix(one.hostname);
  for (const std::string& one : profile.authorization_policies) mix(one);
  return hash;
}

std::size_t PlaceHash::operator()(const WorkloadPlace& place) const noexcept {
  const std::hash<std::string_view> of;
  return of(place.node) * 31U + of(place.zone);
}

WorkloadEntry::WorkloadEntry(const Workload& workload, std::shared_ptr<const SharedProfile> profile,
                             std::shared_ptr<const SharedPlace> place, std::uint32_t number)
    : profile_(std::move(profile)),
      place_(std::move(place)),
      version_(workload.version.value_or(0)),
      name_hash_(name_hash_of(workload)),
      number_(number),
      uid_bytes_(static_cast<std::uint32_t>(workload.uid.size())),
      name_begin_(0),
      name_bytes_(static_cast<std::uint32_t>(workload.name.size()) & 0x0fff'ffffU),
      has_sole_address_(workload.addresses.size() == 1 ? 1U : 0U),
      is_healthy_(workload.is_healthy ? 1U : 0U),
      has_version_(workload.version.has_value() ? 1U : 0U) {
  // A message of the control plane is smaller than that.
  CV_ASSERT(workload.name.size() < std::size_t{1} << 28U && workload.uid.size() < std::size_t{1} << 28U);
  const bool is_end = workload.uid.ends_with(workload.name);
  auto text = std::make_unique<char[]>(workload.uid.size() + (is_end ? 0 : workload.name.size()));
  char* const end = std::ranges::copy(workload.uid, text.get()).out;
  if (is_end) {
    name_begin_ = uid_bytes_ - name_bytes_;
  } else {
    std::ranges::copy(workload.name, end);
    name_begin_ = uid_bytes_;
  }
  text_ = std::move(text);
  if (workload.addresses.size() == 1) address_ = workload.addresses.front();
  if (workload.addresses.size() > 1) {
    more_addresses_ = std::make_unique<const std::vector<IpAddress>>(workload.addresses);
  }
}

}  // namespace culvert::state
