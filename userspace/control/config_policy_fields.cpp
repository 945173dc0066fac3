// SPDX-License-Identifier: Apache-2.0
// The keys of `mesh.policies`, and how texts to compare with are written. All apply while the agent runs. Pure.
#include "control/config_mesh_fields.hpp"
#include "control/config_mesh_values.hpp"

namespace culvert::control {
namespace {

constexpr Applies kLive = Applies::Live;
constexpr bool kRequired = true;
constexpr std::size_t kNameMax = 253;
constexpr std::size_t kTextMax = 2'048;  // as long as an identity can be
constexpr std::size_t kListMax = 10'000;
constexpr std::size_t kRulesMax = 1'024;  // of a policy, and likewise clauses and matches below them

using state::StringMatch;

const Words<state::PolicyScope> kScopeWords = {{"GLOBAL", state::PolicyScope::Global},
                                               {"NAMESPACE", state::PolicyScope::Namespace},
                                               {"WORKLOAD", state::PolicyScope::WorkloadSelector}};
const Words<state::PolicyAction> kActionWords = {{"ALLOW", state::PolicyAction::Allow},
                                                 {"DENY", state::PolicyAction::Deny}};

Result<StringMatch> parse_match(std::string_view text) {
  if (text == "*") return StringMatch{StringMatch::Kind::Presence, {}};
  StringMatch match{StringMatch::Kind::Exact, std::string(text)};
  if (text.starts_with('*')) {
    match = {StringMatch::Kind::Suffix, std::string(text.substr(1))};
  } else if (text.ends_with('*')) {
    match = {StringMatch::Kind::Prefix, std::string(text.substr(0, text.size() - 1))};
  }
  const bool is_written = !match.text.empty() && match.text.size() <= kTextMax;
  if (is_written && match.text.find('*') == std::string::npos) return match;
  return fail(ErrorCode::InvalidArgument,
              "{} is nothing to compare with; write TEXT, TEXT* (begins with), *TEXT (ends with) or * (not empty)",
              quoted(text));
}

Result<StringMatch> parse_principal(std::string_view text) {
  if (!text.starts_with("spiffe://")) return parse_match(text);
  return fail(ErrorCode::InvalidArgument, "{} has a scheme; write it without spiffe://", quoted(text));
}

Result<state::ServiceAccountMatch> parse_account(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string_view namespace_name = text.substr(0, slash);
  const std::string_view account = slash == std::string_view::npos ? std::string_view{} : text.substr(slash + 1);
  if (check_name(namespace_name, kNameMax, false) && check_name(account, kNameMax, false)) {
    return state::ServiceAccountMatch{std::string(namespace_name), std::string(account)};
  }
  return fail(ErrorCode::InvalidArgument, "{} is not a service account; write NAMESPACE/NAME", quoted(text));
}

ListValue match_list(std::vector<StringMatch>& target) {
  return list_of(target, "text to compare with", kListMax, parse_match, text_of);
}
ListValue principal_list(std::vector<StringMatch>& target) {
  return list_of(target, "text to compare with", kListMax, parse_principal, text_of);
}
ListValue account_list(std::vector<state::ServiceAccountMatch>& target) {
  return list_of(target, "service account", kListMax, parse_account, [](const state::ServiceAccountMatch& match) {
    return match.namespace_name + "/" + match.service_account;
  });
}
// The same values as for exclusions, which are fewer.
template <typename List>
List longer(List list) {
  list.size_max = kListMax;
  return list;
}

void visit_match(FieldVisitor& v, state::PolicyMatch& item) {
  v.list({"namespaces", kLive, "Of the client's identity."}, match_list(item.namespaces));
  v.list({"not_namespaces", kLive, "None of these."}, match_list(item.not_namespaces));
  v.list({"service_accounts", kLive, "The client's, as NAMESPACE/NAME, whatever its trust domain."},
         account_list(item.service_accounts));
  v.list({"not_service_accounts", kLive, "None of these."}, account_list(item.not_service_accounts));
  v.list({"principals", kLive, "The client's identity, TRUST_DOMAIN/ns/NAMESPACE/sa/NAME."},
         principal_list(item.principals));
  v.list({"not_principals", kLive, "None of these; * means a client without an identity."},
         principal_list(item.not_principals));
  v.list({"source_ips", kLive, "Ranges for the client's address."}, longer(cidr_list(item.source_ips)));
  v.list({"not_source_ips", kLive, "None of these."}, longer(cidr_list(item.not_source_ips)));
  v.list({"destination_ips", kLive, "Ranges for the workload's address."}, longer(cidr_list(item.destination_ips)));
  v.list({"not_destination_ips", kLive, "None of these."}, longer(cidr_list(item.not_destination_ips)));
  v.list({"destination_ports", kLive, "The application's ports, not the service's."},
         longer(port_list(item.destination_ports)));
  v.list({"not_destination_ports", kLive, "None of these."}, longer(port_list(item.not_destination_ports)));
}

void visit_clause(FieldVisitor& v, state::PolicyClause& item) {
  v.items({"matches", kLive, "One of them must hold; none: it holds."}, items_of(item.matches, kRulesMax, visit_match));
}

void visit_rule(FieldVisitor& v, state::PolicyRule& item) {
  v.items({"clauses", kLive, "All of them must hold; none: it holds."},
          items_of(item.clauses, kRulesMax, visit_clause));
}

}  // namespace

std::string text_of(const StringMatch& match) {
  switch (match.kind) {
    case StringMatch::Kind::Exact: return match.text;
    case StringMatch::Kind::Prefix: return match.text + "*";
    case StringMatch::Kind::Suffix: return "*" + match.text;
    case StringMatch::Kind::Presence: return "*";
  }
  return {};
}

void visit_policy(FieldVisitor& v, PolicyConfig& item) {
  v.scalar({"name", kLive, "Unique in its namespace.", kRequired}, name_value(item.name, kNameMax));
  v.scalar({"namespace", kLive, "Its namespace."}, name_value(item.namespace_name, kNameMax));
  v.scalar({"scope", kLive, "For whom it counts: everybody, its namespace's workloads, or those of workloads."},
           choice_value(item.scope, kScopeWords));
  v.list({"workloads", kLive, "For scope WORKLOAD; without a namespace, the policy's."},
         workload_list(item.workloads, kListMax));
  v.scalar(
      {"action", kLive, "DENY: what it matches is refused. ALLOW: what no such policy matches is refused.", kRequired},
      choice_value(item.action, kActionWords));
  v.scalar({"dry_run", kLive, "Only said in the log and counted."}, boolean_value(item.is_dry_run));
  v.items({"rules", kLive, "It matches when one of them holds; none: never."},
          items_of(item.rules, kRulesMax, visit_rule));
}

}  // namespace culvert::control
