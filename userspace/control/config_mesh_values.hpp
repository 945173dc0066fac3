// SPDX-License-Identifier: Apache-2.0
// The kinds of value that only the keys of `mesh` have: ports, virtual addresses, references to a waypoint or gateway, identities. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/spiffe_id.hpp"
#include "control/config_values.hpp"
#include "state/service.hpp"

namespace culvert::control {

[[nodiscard]] ScalarValue port_value(std::uint16_t& target);                 // 1 to 65535
[[nodiscard]] ScalarValue port_value(std::optional<std::uint16_t>& target);  // 0 to 65535
// NAME or NAMESPACE/NAME.
[[nodiscard]] ScalarValue workload_value(std::string& target);
// ADDRESS, NETWORK/ADDRESS or NAMESPACE/HOSTNAME; each may end in :PORT.
[[nodiscard]] ScalarValue reference_value(std::optional<state::GatewayRef>& target);
[[nodiscard]] Result<state::GatewayRef> parse_reference(std::string_view text);

// Likewise, a list.
[[nodiscard]] ListValue workload_list(std::vector<std::string>& target, std::size_t size_max);
// ADDRESS or NETWORK/ADDRESS.
[[nodiscard]] ListValue virtual_address_list(std::vector<state::NetworkAddress>& target, std::size_t size_max);
// SPIFFE URIs.
[[nodiscard]] ListValue identity_list(std::vector<SpiffeId>& target, std::size_t size_max);

}  // namespace culvert::control
