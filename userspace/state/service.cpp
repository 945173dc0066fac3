// SPDX-License-Identifier: Apache-2.0
// Services' values as text: the words of the workload API, and references as the configuration writes them. Pure.
#include "state/service.hpp"

namespace culvert::state {

std::string_view to_string(LbMode mode) noexcept {
  switch (mode) {
    case LbMode::Unspecified: return "UNSPECIFIED";
    case LbMode::Strict: return "STRICT";
    case LbMode::Failover: return "FAILOVER";
    case LbMode::Passthrough: return "PASSTHROUGH";
  }
  return "";
}

std::string_view to_string(Visibility visibility) noexcept {
  return visibility == Visibility::Public ? "PUBLIC" : "NAMESPACE";
}

std::string to_string(const NetworkAddress& address, std::string_view own_network) {
  const bool is_own = address.network.empty() || address.network == own_network;
  std::string text = address.address.to_string();
  if (!address.is_whole()) text += fmt::format("/{}", address.prefix_bits);
  return is_own ? text : address.network + "/" + text;
}

std::string to_string(const GatewayRef& reference, std::string_view own_network) {
  const bool has_port = reference.hbone_port != GatewayRef{}.hbone_port;
  if (!reference.address) {
    return reference.namespace_name + "/" + reference.hostname +
           (has_port ? fmt::format(":{}", reference.hbone_port) : std::string());
  }
  if (!has_port) return to_string(*reference.address, own_network);
  const auto& network = reference.address->network;
  const IpAddress& address = reference.address->address;
  const std::string where = Endpoint{address, reference.hbone_port}.to_string();
  return network.empty() || network == own_network ? where : network + "/" + where;
}

}  // namespace culvert::state
