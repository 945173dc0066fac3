// SPDX-License-Identifier: Apache-2.0
#include "policy/match.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace culvert::policy {
namespace {

using state::FieldPair;
using state::PreparedMatch;
using state::PreparedPolicy;

// A field passes when one of its positives matches (or there is none) and none of its negatives.
template <typename List, typename... What>
bool passes(const FieldPair<List>& field, const What&... what) noexcept {
  return (field.positive.values.empty() || state::matches(field.positive, what...)) &&
         !state::matches(field.negative, what...);
}

// Likewise of a connection that has nothing to compare: no positive matches, and no negative.
template <typename List>
bool passes_without_identity(const FieldPair<List>& field) noexcept {
  return field.positive.values.empty();
}

// By every name that the identity has: one of them for a positive, none of them for the negatives.
bool principal_passes(const FieldPair<state::TextList>& field, Subject& subject) noexcept {
  const auto is_in = [&subject](const state::TextList& list) {
    return !list.values.empty() &&
           subject.any_principal([&list](std::string_view text) { return state::matches(list, text); });
  };
  return (field.positive.values.empty() || is_in(field.positive)) && !is_in(field.negative);
}

bool match_passes(const PreparedMatch& match, Subject& subject) noexcept {
  const InboundRequest& request = subject.request();
  const auto is_given = [fields = match.fields](state::PolicyField field) { return (fields & field) != 0; };
  if (match.fields == 0) return false;
  if (is_given(state::kFieldDestinationPorts) && !passes(match.destination_ports, request.destination.port))
    return false;
  if (is_given(state::kFieldNamespaces) && !passes(match.namespaces, subject.namespace_name())) return false;
  if (is_given(state::kFieldAccounts)) {
    const bool is_passed = request.peer == nullptr ? passes_without_identity(match.service_accounts)
                                                   : passes(match.service_accounts, request.peer->namespace_name,
                                                            request.peer->service_account);
    if (!is_passed) return false;
  }
  if (is_given(state::kFieldPrincipals)) {
    const bool is_passed = request.peer == nullptr ? passes_without_identity(match.principals)
                                                   : principal_passes(match.principals, subject);
    if (!is_passed) return false;
  }
  if (is_given(state::kFieldSourceIps) && !passes(match.source_ips, request.source.address)) return false;
  return !is_given(state::kFieldDestinationIps) || passes(match.destination_ips, request.destination.address);
}

}  // namespace

std::string_view Subject::principal(std::string_view trust_domain) noexcept {
  if (rest_bytes_ == 0) {
    const SpiffeId& id = *request_.peer;
    for (const std::string_view part : {std::string_view("/ns/"), std::string_view(id.namespace_name),
                                        std::string_view("/sa/"), std::string_view(id.service_account)}) {
      CV_ASSERT(part.size() <= kRestMax - rest_bytes_);
      std::ranges::copy(part, principal_.data() + kDomainMax + rest_bytes_);
      rest_bytes_ += part.size();
    }
  }
  CV_ASSERT(trust_domain.size() <= kDomainMax);
  char* const begin = principal_.data() + kDomainMax - trust_domain.size();
  std::ranges::copy(trust_domain, begin);
  return {begin, trust_domain.size() + rest_bytes_};
}

std::optional<std::uint32_t> matching_rule(const PreparedPolicy& policy, Subject& subject) noexcept {
  std::uint32_t clause = 0;
  std::uint32_t match = 0;
  for (std::uint32_t rule = 0; rule < policy.rule_ends.size(); ++rule) {
    bool is_matched = true;
    for (; clause < policy.rule_ends[rule]; ++clause) {
      const std::uint32_t end = policy.clause_ends[clause];
      if (is_matched && match < end) {
        is_matched = false;
        for (; match < end && !is_matched; ++match) is_matched = match_passes(policy.matches[match], subject);
      }
      match = end;
    }
    if (is_matched) return rule;
  }
  return std::nullopt;
}

}  // namespace culvert::policy
