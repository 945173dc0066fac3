// SPDX-License-Identifier: Apache-2.0
// A client and a server under one authority, who may have shaken hands before.
#pragma once

#include <memory>

#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/resumption.hpp"

namespace culvert::tls::test {

struct TwoEnds {
  Authority authority;
  End client_end;
  End server_end;
  std::shared_ptr<const Credentials> client = authority.credentials(kClientId);
  std::shared_ptr<const Credentials> server = authority.credentials(kServerId);
  ResumptionStore store;
  ResumptionIssuer issuer;

  // One handshake, of which `adjust(client_options, server_options)` may change both sides.
  template <typename Adjust>
  [[nodiscard]] Handshaken meet(bool resumes, Adjust&& adjust) {
    ClientHandshakeOptions client_side = client_options(client);
    ServerHandshakeOptions server_side = server_options(server);
    if (resumes) {
      client_side.resumption = &store;
      server_side.resumption = &issuer;
    }
    adjust(client_side, server_side);
    return handshake(client_end, client_side, server_end, server_side);
  }
  // The client keeps the ticket of `first`, a full handshake.
  void keep_ticket(const Handshaken& first) {
    REQUIRE(first.server_step == HandshakeSocket::Step::Done);
    REQUIRE_FALSE(first.server_outcome.ticket.empty());
    REQUIRE(store.keep(first.server_outcome.ticket, first.server_outcome.ticket_lifetime_s,
                       static_cast<std::int64_t>(wall_us() / 1'000'000)));
  }
};

}  // namespace culvert::tls::test
