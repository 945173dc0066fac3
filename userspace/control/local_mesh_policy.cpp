// SPDX-License-Identifier: Apache-2.0
#include "control/local_mesh_policy.hpp"

namespace culvert::control {
namespace {

using Kind = state::StringMatch::Kind;

const Words<state::PolicyScope> kScopes = {{"Global", state::PolicyScope::Global},
                                           {"Namespace", state::PolicyScope::Namespace},
                                           {"WorkloadSelector", state::PolicyScope::WorkloadSelector}};
const Words<state::PolicyAction> kActions = {{"Allow", state::PolicyAction::Allow},
                                             {"Deny", state::PolicyAction::Deny}};
const Words<Kind> kKinds = {
    {"Exact", Kind::Exact}, {"Prefix", Kind::Prefix}, {"Suffix", Kind::Suffix}, {"Presence", Kind::Presence}};

// {Exact: TEXT}, or with a YAML tag, !Exact TEXT.
std::vector<state::StringMatch> strings(YamlMap& match, const std::string& key, std::string& error) {
  std::vector<state::StringMatch> made;
  match.each(key, [&](const YAML::Node& one, const std::string& where) {
    const std::string tag = one.Tag();
    if (one.IsScalar() && tag.size() > 1 && tag.front() == '!') {
      const auto kind = std::ranges::find(kKinds, tag.substr(1), &std::pair<std::string, Kind>::first);
      if (kind == kKinds.end())
        return match.mistake(key, fmt::format("has the tag {}, which is not known", quoted(tag)));
      made.push_back({kind->second, kind->second == Kind::Presence ? std::string() : one.Scalar()});
      return;
    }
    YamlMap map(one, where, error);
    std::size_t count = 0;
    for (const auto& [name, kind] : kKinds) {
      if (!map.has(name)) continue;
      ++count;
      made.push_back({kind, kind == Kind::Presence ? std::string() : map.text(name)});
    }
    if (count != 1) map.mistake({}, "must have one of Exact, Prefix, Suffix and Presence");
    map.finish();
  });
  return made;
}

std::vector<state::ServiceAccountMatch> accounts(YamlMap& match, const std::string& key, std::string& error) {
  std::vector<state::ServiceAccountMatch> made;
  match.each(key, [&](const YAML::Node& one, const std::string& where) {
    YamlMap map(one, where, error);
    made.push_back({map.text("namespace"), map.text("serviceAccount")});
    map.finish();
  });
  return made;
}

std::vector<std::uint16_t> ports(YamlMap& match, const std::string& key) {
  return match.list<std::uint16_t>(key, [](const std::string& text) -> Result<std::uint16_t> {
    const std::uint64_t value = CV_TRY(parse_integer(text));
    if (value > 65'535) return fail(ErrorCode::InvalidArgument, "too large");
    return static_cast<std::uint16_t>(value);
  });
}

// An address alone is the range of itself.
std::vector<Cidr> ranges(YamlMap& match, const std::string& key) {
  return match.list<Cidr>(key, [](const std::string& text) { return Cidr::parse(text); });
}

state::PolicyMatch match_of(const YAML::Node& node, const std::string& where, std::string& error) {
  YamlMap map(node, where, error);
  state::PolicyMatch made;
  made.namespaces = strings(map, "namespaces", error);
  made.not_namespaces = strings(map, "notNamespaces", error);
  made.service_accounts = accounts(map, "serviceAccounts", error);
  made.not_service_accounts = accounts(map, "notServiceAccounts", error);
  made.principals = strings(map, "principals", error);
  made.not_principals = strings(map, "notPrincipals", error);
  made.source_ips = ranges(map, "sourceIps");
  made.not_source_ips = ranges(map, "notSourceIps");
  made.destination_ips = ranges(map, "destinationIps");
  made.not_destination_ips = ranges(map, "notDestinationIps");
  made.destination_ports = ports(map, "destinationPorts");
  made.not_destination_ports = ports(map, "notDestinationPorts");
  map.finish();
  return made;
}

}  // namespace

state::Authorization local_policy(const YAML::Node& node, const std::string& where, std::string& error) {
  YamlMap map(node, where, error);
  state::Authorization made;
  made.name = map.text("name");
  made.namespace_name = map.text("namespace");
  if (made.name.empty()) map.mistake("name", "is missing");
  made.scope = map.choice("scope", kScopes, state::PolicyScope::Global);
  made.action = map.choice("action", kActions, state::PolicyAction::Allow);
  for (const char* key : {"scope", "action"}) {
    if (!map.has(key)) map.mistake(key, "is missing");
  }
  made.is_dry_run = map.flag("dryRun");
  // Rules, clauses and matches: lists in lists.
  map.each("rules", [&](const YAML::Node& rule, const std::string& rule_at) {
    state::PolicyRule& to_rule = made.rules.emplace_back();
    if (!rule.IsSequence()) return map.mistake("rules", "must be a list of lists of lists");
    for (std::size_t i = 0; i < rule.size(); ++i) {
      state::PolicyClause& clause = to_rule.clauses.emplace_back();
      if (!rule[i].IsSequence()) return map.mistake("rules", "must be a list of lists of lists");
      for (std::size_t j = 0; j < rule[i].size() && error.empty(); ++j) {
        clause.matches.push_back(match_of(rule[i][j], fmt::format("{}[{}][{}]", rule_at, i, j), error));
      }
    }
  });
  map.finish();
  return made;
}

}  // namespace culvert::control
