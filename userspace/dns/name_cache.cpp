// SPDX-License-Identifier: Apache-2.0
#include "dns/name_cache.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace culvert::dns {

const std::vector<IpAddress>* NameCache::find(const std::string& name, std::uint64_t now_ms) const {
  const auto place = names_.find(name);
  return place == names_.end() || place->second.until_ms <= now_ms ? nullptr : &place->second.addresses;
}

void NameCache::keep(const std::string& name, std::vector<IpAddress> addresses, std::uint64_t ttl_ms,
                     std::uint64_t now_ms) {
  if (names_.size() >= kNamesMax && !names_.contains(name)) {
    std::erase_if(names_, [now_ms](const auto& one) { return one.second.until_ms <= now_ms; });
    if (names_.size() >= kNamesMax) names_.erase(names_.begin());
  }
  const std::uint64_t holds_ms = addresses.empty() ? kNegativeTtlMs : std::clamp(ttl_ms, kTtlMinMs, kTtlMaxMs);
  names_[name] = Entry{std::move(addresses), now_ms + holds_ms};
}

IpAddress choose(const std::vector<IpAddress>& addresses, int family, std::uint64_t random) noexcept {
  CV_ASSERT(!addresses.empty());
  const auto is_wanted = [family](const IpAddress& address) { return address.family() == family; };
  const auto wanted = static_cast<std::size_t>(std::ranges::count_if(addresses, is_wanted));
  if (wanted == 0) return addresses[random % addresses.size()];
  std::size_t skip = random % wanted;
  for (const IpAddress& address : addresses) {
    if (is_wanted(address) && skip-- == 0) return address;
  }
  return addresses.front();
}

}  // namespace culvert::dns
