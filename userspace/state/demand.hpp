// SPDX-License-Identifier: Apache-2.0
// What a decision lacks where the control plane sends only what it is asked for (control_plane.on_demand): an address or a hostname of which the
// snapshot says neither who has it nor that nobody has. Pure; any thread. Where everything is sent unasked nothing is ever lacking.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/address.hpp"
#include "state/snapshot.hpp"

namespace culvert::state {

// Views live as long as what they were made of: a snapshot, or a name.
struct Wanted {
  std::string_view scope;     // the network of an address, the namespace of a hostname
  std::string_view hostname;  // empty: `address` is wanted
  IpAddress address;
};

// As the control plane is asked for it: "NETWORK/IP", "NAMESPACE/HOSTNAME". The other way round; nothing: it has no slash.
[[nodiscard]] std::string name_of(const Wanted& wanted);
[[nodiscard]] std::optional<Wanted> parse_wanted(std::string_view name);

// Whether somebody has it, whoever may see that.
[[nodiscard]] bool is_known(const Snapshot& snapshot, const Wanted& wanted) noexcept;

// The same, where it has to be asked for; nothing: it is known, or nobody's, or nothing is asked for here.
[[nodiscard]] std::optional<Wanted> lacking(const Snapshot& snapshot, const Wanted& wanted);
// An empty network is the agent's own.
[[nodiscard]] std::optional<Wanted> lacking(const Snapshot& snapshot, std::string_view network,
                                            const IpAddress& address);
[[nodiscard]] std::optional<Wanted> lacking(const Snapshot& snapshot, const GatewayRef& reference);

}  // namespace culvert::state
