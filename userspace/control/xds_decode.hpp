// SPDX-License-Identifier: Apache-2.0
// From the messages of istio.workload and istio.security to the values of `state`. Pure; any thread. What is wrong is an error that names the
// field and its value. Names that are empty get the API's defaults (trust domain cluster.local, service account default, cluster
// Kubernetes). Entries that say nothing (an address that cannot be read in a policy, an empty match) are dropped, as ztunnel does.
#pragma once

#include <variant>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "state/authorization.hpp"
#include "state/service.hpp"
#include "state/workload.hpp"

namespace culvert::control {

inline constexpr std::string_view kAddressType = "type.googleapis.com/istio.workload.Address";
inline constexpr std::string_view kAuthorizationType = "type.googleapis.com/istio.security.Authorization";

// `message`: the value of the Any.
[[nodiscard]] Result<std::variant<state::Workload, state::Service>> decode_address(ByteView message);
[[nodiscard]] Result<state::Authorization> decode_authorization(ByteView message);

}  // namespace culvert::control
