// SPDX-License-Identifier: Apache-2.0
// The verdict on one inbound connection. Any thread; no allocation.
#include "policy/policy.hpp"

namespace culvert::policy {

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::Allow: return "allowed";
    case Verdict::DenyNoIdentity: return "denied: peer authentication is STRICT and the client has no identity";
  }
  return "unknown";
}

Verdict evaluate(const state::Snapshot& snapshot, const InboundRequest& request) noexcept {
  // An identity stands for a completed mutual-TLS handshake, which is all that STRICT asks for.
  if (request.peer != nullptr) return Verdict::Allow;
  const state::PeerAuthMode mode = snapshot.peer_auth(request.namespace_name, request.workload_name);
  return mode == state::PeerAuthMode::Strict ? Verdict::DenyNoIdentity : Verdict::Allow;
}

}  // namespace culvert::policy
