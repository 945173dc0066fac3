// SPDX-License-Identifier: Apache-2.0
// Whether one policy matches one connection. Pure; any thread; no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/prepared_policy.hpp"

namespace culvert::policy {

struct InboundRequest {
  Endpoint source;                 // the TCP peer: the client, or the waypoint or gateway that speaks for it
  Endpoint destination;            // the pod's address and the application's port
  const SpiffeId* peer = nullptr;  // null: plaintext, no identity
};

// A request as policies ask it. Lives as long as the request.
class Subject {
 public:
  explicit Subject(const InboundRequest& request) noexcept : request_(request) {}
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  [[nodiscard]] const InboundRequest& request() const noexcept { return request_; }
  // Without an identity: "".
  [[nodiscard]] std::string_view namespace_name() const noexcept {
    return request_.peer == nullptr ? std::string_view{} : std::string_view(request_.peer->namespace_name);
  }
  // "TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT"; only with an identity. Written down when it is first asked for.
  [[nodiscard]] std::string_view principal() noexcept;

 private:
  const InboundRequest& request_;
  std::size_t principal_bytes_ = 0;
  std::array<char, 1024> principal_;  // longer than an identity can be (spiffe_id.hpp)
};

// The number of the first rule that matches; nothing: the policy does not.
[[nodiscard]] std::optional<std::uint32_t> matching_rule(const state::PreparedPolicy& policy,
                                                         Subject& subject) noexcept;

}  // namespace culvert::policy
