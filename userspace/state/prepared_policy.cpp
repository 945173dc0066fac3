// SPDX-License-Identifier: Apache-2.0
#include "state/prepared_policy.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace culvert::state {
namespace {

bool is_less_from_end(std::string_view a, std::string_view b) noexcept {
  return std::lexicographical_compare(a.rbegin(), a.rend(), b.rbegin(), b.rend(), [](char x, char y) {
    return static_cast<unsigned char>(x) < static_cast<unsigned char>(y);
  });
}

// Sorted, without those that one before them covers: what remains is disjoint, so that a lookup has one candidate, the last that is not greater.
template <typename T, typename Less, typename Covers>
void reduce(std::vector<T>& list, Less less, Covers covers) {
  std::sort(list.begin(), list.end(), less);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (kept > 0 && covers(list[kept - 1], list[i])) continue;
    list[kept++] = list[i];
  }
  list.resize(kept);
}

template <typename T, typename Key, typename Less>
const T* candidate(const std::vector<T>& list, const Key& key, Less less) noexcept {
  const auto above = std::upper_bound(list.begin(), list.end(), key, less);
  return above == list.begin() ? nullptr : &*std::prev(above);
}

// The range with the bits behind its prefix cleared.
Cidr cleared(const Cidr& range) noexcept {
  in6_addr bytes{};
  const unsigned bits = range.bits + (range.network.is_v4() ? 96U : 0U);
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned of_byte = bits <= i * 8 ? 0 : std::min(8U, bits - i * 8);
    bytes.s6_addr[i] = static_cast<std::uint8_t>(range.network.mapped()[i] & (0xff00U >> of_byte));
  }
  return {IpAddress::v6(bytes), range.bits};
}

bool precedes(const Cidr& a, const Cidr& b) noexcept {
  return std::tie(a.network, a.bits) < std::tie(b.network, b.bits);
}

bool matches_one(const StringMatch& match, std::string_view text) noexcept {
  switch (match.kind) {
    case StringMatch::Kind::Exact: return text == match.text;
    case StringMatch::Kind::Prefix: return text.starts_with(match.text);
    case StringMatch::Kind::Suffix: return text.ends_with(match.text);
    case StringMatch::Kind::Presence: return !text.empty();
  }
  return false;
}

std::pair<std::string_view, std::string_view> names_of(const ServiceAccountMatch& match) noexcept {
  return {match.namespace_name, match.service_account};
}

}  // namespace

TextTable::TextTable(std::span<const StringMatch> list) {
  for (const StringMatch& match : list) {
    switch (match.kind) {
      case StringMatch::Kind::Exact: exact_.push_back(match.text); break;
      case StringMatch::Kind::Prefix: prefixes_.push_back(match.text); break;
      case StringMatch::Kind::Suffix: suffixes_.push_back(match.text); break;
      case StringMatch::Kind::Presence: has_presence_ = true; break;
    }
  }
  std::sort(exact_.begin(), exact_.end());
  reduce(prefixes_, std::less<>(), [](std::string_view a, std::string_view b) { return b.starts_with(a); });
  reduce(suffixes_, is_less_from_end, [](std::string_view a, std::string_view b) { return b.ends_with(a); });
}

bool TextTable::matches(std::string_view text) const noexcept {
  if (has_presence_ && !text.empty()) return true;
  if (std::binary_search(exact_.begin(), exact_.end(), text)) return true;
  const std::string_view* prefix = candidate(prefixes_, text, std::less<>());
  if (prefix != nullptr && text.starts_with(*prefix)) return true;
  const std::string_view* suffix = candidate(suffixes_, text, is_less_from_end);
  return suffix != nullptr && text.ends_with(*suffix);
}

CidrTable::CidrTable(std::span<const Cidr> list) {
  for (const Cidr& range : list) (range.network.is_v4() ? v4_ : v6_).push_back(cleared(range));
  const auto covers = [](const Cidr& a, const Cidr& b) { return a.contains(b.network) && a.bits <= b.bits; };
  reduce(v4_, precedes, covers);
  reduce(v6_, precedes, covers);
}

bool CidrTable::contains(const IpAddress& address) const noexcept {
  const Cidr* range =
      candidate(address.is_v4() ? v4_ : v6_, address, [](const IpAddress& a, const Cidr& b) { return a < b.network; });
  return range != nullptr && range->contains(address);
}

AccountTable::AccountTable(std::span<const ServiceAccountMatch> list) {
  for (const ServiceAccountMatch& match : list) sorted_.push_back(&match);
  std::ranges::sort(sorted_, {}, [](const ServiceAccountMatch* match) { return names_of(*match); });
}

bool AccountTable::contains(std::string_view namespace_name, std::string_view service_account) const noexcept {
  const auto wanted = std::pair(namespace_name, service_account);
  const auto found =
      std::ranges::lower_bound(sorted_, wanted, {}, [](const ServiceAccountMatch* match) { return names_of(*match); });
  return found != sorted_.end() && names_of(**found) == wanted;
}

PortTable::PortTable(std::span<const std::uint16_t> list) : sorted(list.begin(), list.end()) {
  std::ranges::sort(sorted);
}

bool matches(const TextList& list, std::string_view text) noexcept {
  if (list.table != nullptr) return list.table->matches(text);
  return std::ranges::any_of(list.values, [text](const StringMatch& match) { return matches_one(match, text); });
}

bool matches(const CidrList& list, const IpAddress& address) noexcept {
  if (list.table != nullptr) return list.table->contains(address);
  return std::ranges::any_of(list.values, [&address](const Cidr& range) { return range.contains(address); });
}

bool matches(const AccountList& list, std::string_view namespace_name, std::string_view service_account) noexcept {
  if (list.table != nullptr) return list.table->contains(namespace_name, service_account);
  return std::ranges::any_of(list.values, [&](const ServiceAccountMatch& match) {
    return match.namespace_name == namespace_name && match.service_account == service_account;
  });
}

bool matches(const PortList& list, std::uint16_t port) noexcept {
  if (list.table != nullptr) return std::ranges::binary_search(list.table->sorted, port);
  return std::ranges::find(list.values, port) != list.values.end();
}

PreparedMatch::PreparedMatch(const PolicyMatch& match)
    : destination_ports{match.destination_ports, match.not_destination_ports},
      namespaces{match.namespaces, match.not_namespaces},
      service_accounts{match.service_accounts, match.not_service_accounts},
      principals{match.principals, match.not_principals},
      source_ips{match.source_ips, match.not_source_ips},
      destination_ips{match.destination_ips, match.not_destination_ips} {
  const auto note = [this](bool is_given, PolicyField field) {
    if (is_given) fields = static_cast<std::uint8_t>(fields | field);
  };
  note(namespaces.is_given(), kFieldNamespaces);
  note(service_accounts.is_given(), kFieldAccounts);
  note(principals.is_given(), kFieldPrincipals);
  note(source_ips.is_given(), kFieldSourceIps);
  note(destination_ips.is_given(), kFieldDestinationIps);
  note(destination_ports.is_given(), kFieldDestinationPorts);
}

PreparedPolicy::PreparedPolicy(Authorization policy) : Authorization(std::move(policy)), key_text(key()) {
  for (const PolicyRule& rule : rules) {
    for (const PolicyClause& clause : rule.clauses) {
      for (const PolicyMatch& match : clause.matches) matches.emplace_back(match);
      clause_ends.push_back(static_cast<std::uint32_t>(matches.size()));
    }
    rule_ends.push_back(static_cast<std::uint32_t>(clause_ends.size()));
  }
}

}  // namespace culvert::state
