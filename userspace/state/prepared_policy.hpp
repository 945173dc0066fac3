// SPDX-License-Identifier: Apache-2.0
// PreparedPolicy: an authorization policy together with what makes it quick to ask: which fields of a match are given, and long lists in order.
// Made once, on the control thread; immutable afterwards and asked on any. The values say what it means, the tables only how it is found.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "state/authorization.hpp"

namespace culvert::state {

// Lists up to this long are walked.
inline constexpr std::size_t kShortListMax = 8;

// A long list of StringMatch.
class TextTable {
 public:
  explicit TextTable(std::span<const StringMatch> list);
  [[nodiscard]] bool matches(std::string_view text) const noexcept;

 private:
  std::vector<std::string_view> exact_;     // sorted
  std::vector<std::string_view> prefixes_;  // sorted; none begins with another
  std::vector<std::string_view> suffixes_;  // sorted from their ends; none ends with another
  bool has_presence_ = false;
};

// A long list of address ranges.
class CidrTable {
 public:
  explicit CidrTable(std::span<const Cidr> list);
  [[nodiscard]] bool contains(const IpAddress& address) const noexcept;

 private:
  // By family, sorted by first address; none lies in another.
  std::vector<Cidr> v4_;
  std::vector<Cidr> v6_;
};

class AccountTable {
 public:
  explicit AccountTable(std::span<const ServiceAccountMatch> list);
  [[nodiscard]] bool contains(std::string_view namespace_name, std::string_view service_account) const noexcept;

 private:
  std::vector<const ServiceAccountMatch*> sorted_;
};

// One list of a match: the values, and a table where they are many.
template <typename T, typename Table>
struct PreparedList {
  PreparedList(const std::vector<T>& list) : values(list) {
    if (list.size() > kShortListMax) table = std::make_unique<const Table>(values);
  }
  std::span<const T> values;
  std::unique_ptr<const Table> table;  // null: walk
};
struct PortTable {
  explicit PortTable(std::span<const std::uint16_t> list);
  std::vector<std::uint16_t> sorted;
};
using TextList = PreparedList<StringMatch, TextTable>;
using CidrList = PreparedList<Cidr, CidrTable>;
using AccountList = PreparedList<ServiceAccountMatch, AccountTable>;
using PortList = PreparedList<std::uint16_t, PortTable>;

// True when one entry matches; never of an empty list.
[[nodiscard]] bool matches(const TextList& list, std::string_view text) noexcept;
[[nodiscard]] bool matches(const CidrList& list, const IpAddress& address) noexcept;
[[nodiscard]] bool matches(const AccountList& list, std::string_view namespace_name,
                           std::string_view service_account) noexcept;
[[nodiscard]] bool matches(const PortList& list, std::uint16_t port) noexcept;

// One field of a match: the positives and the negatives of it.
template <typename List>
struct FieldPair {
  List positive;
  List negative;
  [[nodiscard]] bool is_given() const noexcept { return !positive.values.empty() || !negative.values.empty(); }
};

// Which pairs of a match are given, so that the others are not looked at.
enum PolicyField : std::uint8_t {
  kFieldNamespaces = 1U << 0U,
  kFieldAccounts = 1U << 1U,
  kFieldPrincipals = 1U << 2U,
  kFieldSourceIps = 1U << 3U,
  kFieldDestinationIps = 1U << 4U,
  kFieldDestinationPorts = 1U << 5U,
};

struct PreparedMatch {
  explicit PreparedMatch(const PolicyMatch& match);  // which outlives it
  std::uint8_t fields = 0;
  FieldPair<PortList> destination_ports;
  FieldPair<TextList> namespaces;
  FieldPair<AccountList> service_accounts;
  FieldPair<TextList> principals;
  FieldPair<CidrList> source_ips;
  FieldPair<CidrList> destination_ips;
};

struct PreparedPolicy : Authorization {
  explicit PreparedPolicy(Authorization policy);
  PreparedPolicy(const PreparedPolicy&) = delete;  // the tables point into it
  PreparedPolicy& operator=(const PreparedPolicy&) = delete;

  // In the order of `rules`, flat: rule i has the clauses from rule_ends[i - 1] (0 for the first) to below rule_ends[i], and likewise clauses
  // their matches.
  std::vector<std::uint32_t> rule_ends;
  std::vector<std::uint32_t> clause_ends;
  std::vector<PreparedMatch> matches;
  std::string key_text;  // "NAMESPACE/NAME"
};

}  // namespace culvert::state
