// SPDX-License-Identifier: Apache-2.0
#include "control/xds_decode.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "proto/workload.pb.h"

namespace culvert::control {
namespace {

namespace pb = istio::workload;

Result<std::uint16_t> port_of(std::uint32_t value, std::string_view field) {
  if (value > std::numeric_limits<std::uint16_t>::max()) {
    return fail(ErrorCode::InvalidArgument, "{} is {}; a port is at most 65535", field, value);
  }
  return static_cast<std::uint16_t>(value);
}

ByteView bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

Result<IpAddress> address_of(const std::string& bytes, std::string_view field) {
  auto address = IpAddress::from_bytes(bytes_of(bytes));
  if (!address) return fail(ErrorCode::InvalidArgument, "{} has {} bytes; an address has 4 or 16", field, bytes.size());
  return *address;
}

Result<state::NetworkAddress> network_address_of(const pb::NetworkAddress& from, std::string_view field) {
  state::NetworkAddress made;
  made.network = from.network();
  made.address = CV_TRY(address_of(from.address(), field));
  if (!from.has_length()) return made;
  const auto range = Cidr::from_bytes(bytes_of(from.address()), from.length());
  if (!range) return fail(ErrorCode::InvalidArgument, "{}: {}", field, range.error().message());
  if (!range->is_whole()) made.prefix_bits = range->bits;
  return made;
}

Result<state::GatewayRef> gateway_of(const pb::GatewayAddress& from, std::string_view field) {
  state::GatewayRef made;
  switch (from.destination_case()) {
    case pb::GatewayAddress::kHostname:
      made.namespace_name = from.hostname().namespace_();
      made.hostname = from.hostname().hostname();
      if (made.hostname.empty()) return fail(ErrorCode::InvalidArgument, "{} has an empty hostname", field);
      break;
    case pb::GatewayAddress::kAddress: made.address = CV_TRY(network_address_of(from.address(), field)); break;
    case pb::GatewayAddress::DESTINATION_NOT_SET:
      return fail(ErrorCode::InvalidArgument, "{} has neither an address nor a hostname", field);
  }
  made.hbone_port = CV_TRY(port_of(from.hbone_mtls_port(), field));
  return made;
}

Result<std::vector<state::ServicePort>> ports_of(const google::protobuf::RepeatedPtrField<pb::Port>& from) {
  std::vector<state::ServicePort> made;
  made.reserve(static_cast<std::size_t>(from.size()));
  for (const pb::Port& port : from) {
    made.push_back(
        {CV_TRY(port_of(port.service_port(), "service_port")), CV_TRY(port_of(port.target_port(), "target_port"))});
  }
  return made;
}

template <typename Message>
Result<void> read(Message& message, ByteView bytes, std::string_view type) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(ErrorCode::InvalidArgument, "{} bytes that are not a message of type {}", bytes.size(), type);
  }
  return {};
}

Result<state::Workload> workload_of(const pb::Workload& from) {
  state::Workload made;
  if (from.uid().empty()) return fail(ErrorCode::InvalidArgument, "uid is empty; each workload has its own");
  made.uid = from.uid();
  made.name = from.name();
  made.namespace_name = from.namespace_();
  const auto or_default = [](const std::string& text, std::string_view otherwise) {
    return text.empty() ? otherwise : std::string_view(text);
  };
  // As they come, and whoever wrote them: in a WorkloadEntry any text may be an account. One that is no SPIFFE ID is in no certificate, so that
  // tunnels to such a workload fail, and nothing else does.
  made.identity = {std::string(or_default(from.trust_domain(), "cluster.local")), from.namespace_(),
                   std::string(or_default(from.service_account(), "default"))};
  made.node = from.node();
  made.network = from.network();
  made.cluster = or_default(from.cluster_id(), "Kubernetes");
  made.canonical_name = from.canonical_name();
  made.canonical_revision = from.canonical_revision();
  switch (from.tunnel_protocol()) {
    case pb::NONE: made.protocol = state::Protocol::Tcp; break;
    case pb::HBONE: made.protocol = state::Protocol::Tunnel; break;
    default:
      return fail(ErrorCode::InvalidArgument, "tunnel_protocol is {}; NONE (0) and HBONE (1) are known",
                  static_cast<int>(from.tunnel_protocol()));
  }
  for (const std::string& address : from.addresses()) {
    made.addresses.push_back(CV_TRY(address_of(address, "addresses")));
  }
  made.hostname = from.hostname();
  if (from.has_waypoint()) made.waypoint = CV_TRY(gateway_of(from.waypoint(), "waypoint"));
  if (from.has_network_gateway()) {
    made.network_gateway = CV_TRY(gateway_of(from.network_gateway(), "network_gateway"));
  }
  if (from.has_application_tunnel()) {
    made.application_tunnel = {.has_proxy_header = from.application_tunnel().protocol() == pb::ApplicationTunnel::PROXY,
                               .port = CV_TRY(port_of(from.application_tunnel().port(), "application_tunnel.port"))};
  }
  made.region = from.locality().region();
  made.zone = from.locality().zone();
  made.subzone = from.locality().subzone();
  made.capacity = from.has_capacity() ? from.capacity().value() : 1;
  made.is_healthy = from.status() != pb::UNHEALTHY;
  made.is_host_network = from.network_mode() == pb::HOST_NETWORK;
  made.is_tunnel_native = from.native_tunnel();
  switch (from.workload_type()) {
    case pb::DEPLOYMENT: made.type = state::WorkloadType::Deployment; break;
    case pb::CRONJOB: made.type = state::WorkloadType::CronJob; break;
    case pb::JOB: made.type = state::WorkloadType::Job; break;
    default: made.type = state::WorkloadType::Pod; break;
  }
  made.workload_name = from.workload_name();
  for (const auto& [key, ports] : from.services()) {
    const std::size_t slash = key.find('/');
    if (slash == std::string::npos) {
      return fail(ErrorCode::InvalidArgument, "services has the key \"{}\"; it must be NAMESPACE/HOSTNAME", key);
    }
    made.services.push_back({key.substr(0, slash), key.substr(slash + 1), CV_TRY(ports_of(ports.ports()))});
  }
  // A map comes in no order.
  std::ranges::sort(made.services, {}, [](const state::ServiceMembership& one) {
    return std::pair<std::string_view, std::string_view>(one.namespace_name, one.hostname);
  });
  made.authorization_policies.assign(from.authorization_policies().begin(), from.authorization_policies().end());
  return made;
}

Result<state::Service> service_of(const pb::Service& from) {
  state::Service made;
  if (from.hostname().empty()) return fail(ErrorCode::InvalidArgument, "hostname is empty; each service has one");
  made.name = from.name();
  made.namespace_name = from.namespace_();
  made.hostname = from.hostname();
  for (const pb::NetworkAddress& vip : from.addresses()) {
    made.vips.push_back(CV_TRY(network_address_of(vip, "addresses")));
  }
  made.ports = CV_TRY(ports_of(from.ports()));
  for (const std::string& name : from.subject_alt_names()) {
    // Others than SPIFFE identities mean nothing here.
    if (auto identity = SpiffeId::parse(name); identity) made.subject_alt_names.push_back(std::move(*identity));
  }
  if (from.has_waypoint()) made.waypoint = CV_TRY(gateway_of(from.waypoint(), "waypoint"));
  for (const pb::WeightedWaypoint& one : from.weighted_waypoints()) {
    made.weighted_waypoints.push_back(
        {CV_TRY(gateway_of(one.destination(), "weighted_waypoints.destination")), one.weight()});
  }
  switch (from.load_balancing().mode()) {
    case pb::LoadBalancing::STRICT: made.lb_mode = state::LbMode::Strict; break;
    case pb::LoadBalancing::FAILOVER: made.lb_mode = state::LbMode::Failover; break;
    case pb::LoadBalancing::PASSTHROUGH: made.lb_mode = state::LbMode::Passthrough; break;
    default: made.lb_mode = state::LbMode::Unspecified; break;
  }
  for (const int scope : from.load_balancing().routing_preference()) {
    switch (scope) {
      case pb::LoadBalancing::REGION: made.routing_preference.push_back(state::LbScope::Region); break;
      case pb::LoadBalancing::ZONE: made.routing_preference.push_back(state::LbScope::Zone); break;
      case pb::LoadBalancing::SUBZONE: made.routing_preference.push_back(state::LbScope::Subzone); break;
      case pb::LoadBalancing::NODE: made.routing_preference.push_back(state::LbScope::Node); break;
      case pb::LoadBalancing::CLUSTER: made.routing_preference.push_back(state::LbScope::Cluster); break;
      case pb::LoadBalancing::NETWORK: made.routing_preference.push_back(state::LbScope::Network); break;
      default:
        break;  // of a newer istiod: a preference that cannot be followed, which is no reason to lose the service
    }
  }
  if (from.load_balancing().health_policy() == pb::LoadBalancing::ALLOW_ALL) {
    made.health_policy = state::HealthPolicy::AllowAll;
  }
  switch (from.ip_families()) {
    case pb::IPV4_ONLY: made.ip_families = state::IpFamilies::V4Only; break;
    case pb::IPV6_ONLY: made.ip_families = state::IpFamilies::V6Only; break;
    case pb::DUAL: made.ip_families = state::IpFamilies::Dual; break;
    default: made.ip_families = state::IpFamilies::Automatic; break;
  }
  made.visibility =
      from.visibility() == pb::Service::NAMESPACE ? state::Visibility::Namespace : state::Visibility::Public;
  made.is_canonical = from.canonical();
  return made;
}

}  // namespace

Result<std::variant<state::Workload, state::Service>> decode_address(ByteView message) {
  pb::Address address;
  if (auto done = read(address, message, "istio.workload.Address"); !done) return std::unexpected(done.error());
  switch (address.type_case()) {
    case pb::Address::kWorkload: return CV_TRY(workload_of(address.workload()));
    case pb::Address::kService: return CV_TRY(service_of(address.service()));
    case pb::Address::TYPE_NOT_SET: break;
  }
  return fail(ErrorCode::InvalidArgument, "an address that is neither a workload nor a service");
}

}  // namespace culvert::control
