// SPDX-License-Identifier: Apache-2.0
// Authorization policies; see xds_decode.hpp.
#include <limits>
#include <utility>

#include "control/xds_decode.hpp"
#include "proto/authorization.pb.h"

namespace culvert::control {
namespace {

namespace pb = istio::security;
template <typename T>
using Repeated = google::protobuf::RepeatedPtrField<T>;

std::vector<state::StringMatch> strings_of(const Repeated<pb::StringMatch>& from) {
  using Kind = state::StringMatch::Kind;
  std::vector<state::StringMatch> made;
  for (const pb::StringMatch& one : from) {
    switch (one.match_type_case()) {
      case pb::StringMatch::kExact: made.push_back({Kind::Exact, one.exact()}); break;
      case pb::StringMatch::kPrefix: made.push_back({Kind::Prefix, one.prefix()}); break;
      case pb::StringMatch::kSuffix: made.push_back({Kind::Suffix, one.suffix()}); break;
      case pb::StringMatch::kPresence: made.push_back({Kind::Presence, {}}); break;
      case pb::StringMatch::MATCH_TYPE_NOT_SET: break;
    }
  }
  return made;
}

std::vector<state::ServiceAccountMatch> accounts_of(const Repeated<pb::ServiceAccountMatch>& from) {
  std::vector<state::ServiceAccountMatch> made;
  for (const pb::ServiceAccountMatch& one : from) made.push_back({one.namespace_(), one.serviceaccount()});
  return made;
}

// One that cannot be read stays as a range that nobody is in (the unspecified address), or a match that says more would say less: without any
// range it has everybody.
std::vector<Cidr> ranges_of(const Repeated<pb::Address>& from) {
  std::vector<Cidr> made;
  for (const pb::Address& one : from) {
    const auto& bytes = one.address();
    const ByteView view{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
    made.push_back(Cidr::from_bytes(view, one.length()).value_or(Cidr{IpAddress{}, 128}));
  }
  return made;
}

Result<std::vector<std::uint16_t>> ports_of(const google::protobuf::RepeatedField<std::uint32_t>& from) {
  std::vector<std::uint16_t> made;
  for (const std::uint32_t port : from) {
    if (port > std::numeric_limits<std::uint16_t>::max()) {
      return fail(ErrorCode::InvalidArgument, "a match has the port {}; a port is at most 65535", port);
    }
    made.push_back(static_cast<std::uint16_t>(port));
  }
  return made;
}

Result<state::PolicyMatch> match_of(const pb::Match& from) {
  state::PolicyMatch made;
  made.namespaces = strings_of(from.namespaces());
  made.not_namespaces = strings_of(from.not_namespaces());
  made.service_accounts = accounts_of(from.service_accounts());
  made.not_service_accounts = accounts_of(from.not_service_accounts());
  made.principals = strings_of(from.principals());
  made.not_principals = strings_of(from.not_principals());
  made.source_ips = ranges_of(from.source_ips());
  made.not_source_ips = ranges_of(from.not_source_ips());
  made.destination_ips = ranges_of(from.destination_ips());
  made.not_destination_ips = ranges_of(from.not_destination_ips());
  made.destination_ports = CV_TRY(ports_of(from.destination_ports()));
  made.not_destination_ports = CV_TRY(ports_of(from.not_destination_ports()));
  return made;
}

}  // namespace

Result<state::Authorization> decode_authorization(ByteView message) {
  pb::Authorization from;
  if (message.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
      !from.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return fail(ErrorCode::InvalidArgument, "{} bytes that are not a message of type istio.security.Authorization",
                message.size());
  }
  state::Authorization made;
  made.name = from.name();
  made.namespace_name = from.namespace_();
  switch (from.scope()) {
    case pb::GLOBAL: made.scope = state::PolicyScope::Global; break;
    case pb::NAMESPACE: made.scope = state::PolicyScope::Namespace; break;
    case pb::WORKLOAD_SELECTOR: made.scope = state::PolicyScope::WorkloadSelector; break;
    default: return fail(ErrorCode::InvalidArgument, "scope is {}; 0 to 2 are known", static_cast<int>(from.scope()));
  }
  switch (from.action()) {
    case pb::ALLOW: made.action = state::PolicyAction::Allow; break;
    case pb::DENY: made.action = state::PolicyAction::Deny; break;
    default:
      return fail(ErrorCode::InvalidArgument, "action is {}; ALLOW (0) and DENY (1) are known",
                  static_cast<int>(from.action()));
  }
  made.is_dry_run = from.dry_run();
  for (const pb::Rule& rule : from.rules()) {
    state::PolicyRule& to_rule = made.rules.emplace_back();
    for (const pb::Clause& clause : rule.clauses()) {
      state::PolicyClause& to_clause = to_rule.clauses.emplace_back();
      for (const pb::Match& match : clause.matches()) to_clause.matches.push_back(CV_TRY(match_of(match)));
    }
  }
  return made;
}

}  // namespace culvert::control
