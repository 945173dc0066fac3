// SPDX-License-Identifier: Apache-2.0
#include "proxy/revocations.hpp"

#include <utility>

#include "proxy/tunnels.hpp"

namespace culvert::proxy {

void Revocations::begin() noexcept {
  // Those that are still shaking hands look at the new lists by themselves when they are done.
  place_ = 0;
  stop_ = state_.options.revocation == nullptr ? 0 : state_.tunnels.places();
}

void Revocations::run() {
  if (!has_more()) return;
  std::size_t closes_left = kClosesPerTurn;
  for (std::size_t left = kPlacesPerTurn; left > 0 && closes_left > 0 && has_more(); --left) {
    Tunnel* tunnel = state_.tunnels.at_place(place_++);
    if (tunnel == nullptr || tunnel->state != TunnelState::Ready || tunnel->peer_chain == nullptr) continue;
    if (!state_.options.revocation->is_revoked(*tunnel->peer_chain)) continue;
    --closes_left;
    ++closed_;
    state_.counters.crl_rejections[direction_index(*tunnel)].add();
    state_.tunnel_engine->cut(tunnel->self, telemetry::CloseReason::CertRevoked, false);
  }
  if (!has_more() && closed_ != 0) {
    state_.log.warn("certificates were revoked: {} live tunnels were closed", std::exchange(closed_, 0));
  }
}

}  // namespace culvert::proxy
