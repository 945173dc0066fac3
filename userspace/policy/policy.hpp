// SPDX-License-Identifier: Apache-2.0
// Policy: may this connection reach this workload? Pure functions over the snapshot; evaluated on the destination's side,
// before any upstream connect.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/snapshot.hpp"

namespace culvert::policy {

struct InboundRequest {
  Endpoint source;                  // as seen in the pod's namespace
  Endpoint destination;             // the application's address and port
  const SpiffeId* peer = nullptr;   // null: plaintext, no identity
  std::string_view namespace_name;  // of the destination
  std::string_view workload_name;
};

enum class Verdict : std::uint8_t { Allow, DenyNoIdentity };  // STRICT and no identity
[[nodiscard]] std::string_view to_string(Verdict verdict) noexcept;

[[nodiscard]] Verdict evaluate(const state::Snapshot& snapshot, const InboundRequest& request) noexcept;

}  // namespace culvert::policy
