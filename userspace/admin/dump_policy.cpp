// SPDX-License-Identifier: Apache-2.0
// Policies; see dump_objects.hpp. rules[clauses[matches[]]]: only the fields of a match that are given.
#include <array>

#include "admin/dump_objects.hpp"

namespace culvert::admin {
namespace {

void write(JsonWriter& json, const state::StringMatch& match) {
  constexpr std::array<std::string_view, 4> kKinds{"Exact", "Prefix", "Suffix", "Presence"};
  json.begin_object().key(kKinds[static_cast<std::size_t>(match.kind)]);
  if (match.kind == state::StringMatch::Kind::Presence) {
    json.begin_array().end_array();
  } else {
    json.value(match.text);
  }
  json.end_object();
}

void write(JsonWriter& json, const state::ServiceAccountMatch& match) {
  json.begin_object()
      .field("namespace", match.namespace_name)
      .field("serviceAccount", match.service_account)
      .end_object();
}

void write(JsonWriter& json, const Cidr& range) { json.value(range.to_string()); }
void write(JsonWriter& json, std::uint16_t port) { json.value(port); }

template <typename Items>
void write_list(JsonWriter& json, std::string_view name, const Items& items) {
  if (items.empty()) return;
  json.key(name).begin_array();
  for (const auto& item : items) write(json, item);
  json.end_array();
}

void write_match(JsonWriter& json, const state::PolicyMatch& match) {
  json.begin_object();
  write_list(json, "namespaces", match.namespaces);
  write_list(json, "notNamespaces", match.not_namespaces);
  write_list(json, "serviceAccounts", match.service_accounts);
  write_list(json, "notServiceAccounts", match.not_service_accounts);
  write_list(json, "principals", match.principals);
  write_list(json, "notPrincipals", match.not_principals);
  write_list(json, "sourceIps", match.source_ips);
  write_list(json, "notSourceIps", match.not_source_ips);
  write_list(json, "destinationIps", match.destination_ips);
  write_list(json, "notDestinationIps", match.not_destination_ips);
  write_list(json, "destinationPorts", match.destination_ports);
  write_list(json, "notDestinationPorts", match.not_destination_ports);
  json.end_object();
}

}  // namespace

void write_policy(JsonWriter& json, const state::Authorization& policy) {
  constexpr std::array<std::string_view, 3> kScopes{"Global", "Namespace", "WorkloadSelector"};
  json.begin_object()
      .field("name", policy.name)
      .field("namespace", policy.namespace_name)
      .field("scope", kScopes[static_cast<std::size_t>(policy.scope)])
      .field("action", policy.action == state::PolicyAction::Allow ? "Allow" : "Deny");
  json.key("rules").begin_array();
  for (const state::PolicyRule& rule : policy.rules) {
    json.begin_array();
    for (const state::PolicyClause& clause : rule.clauses) {
      json.begin_array();
      for (const state::PolicyMatch& match : clause.matches) write_match(json, match);
      json.end_array();
    }
    json.end_array();
  }
  json.end_array();
  if (policy.is_dry_run) json.field("dryRun", true);
  json.end_object();
}

}  // namespace culvert::admin
