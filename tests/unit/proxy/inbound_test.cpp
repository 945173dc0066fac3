// SPDX-License-Identifier: Apache-2.0
// Inbound: what a peer may open on a direct tunnel.
#include <array>
#include <string>

#include <catch2/catch.hpp>

#include "parts.hpp"
#include "state/store.hpp"

namespace culvert::proxy::test {
namespace {

std::string text_of(const direct::Message& message) {
  std::array<std::uint8_t, direct::kMessageBytesMax> buffer;
  return std::string(as_text(direct::encode(message, buffer)));
}

state::Workload pod_with(const std::optional<state::ApplicationTunnel>& tunnel) {
  state::Workload made;
  made.uid = "shop/cart";
  made.name = "cart";
  made.namespace_name = "shop";
  made.addresses = {IpAddress::parse("10.1.0.5").value()};
  made.application_tunnel = tunnel;
  return made;
}

TEST_CASE("OPEN to a workload with an application tunnel is refused before anything is connected") {
  struct Case {
    std::string_view description;
    std::optional<state::ApplicationTunnel> tunnel;
    direct::RefuseReason expected;
  };
  using direct::RefuseReason;
  const Case cases[] = {
      {"none: it gets as far as a socket, which this pod cannot make", {}, RefuseReason::Overloaded},
      {"with a PROXY header", state::ApplicationTunnel{true, 15088}, RefuseReason::UnknownDestination},
      {"at another port", state::ApplicationTunnel{false, 8080}, RefuseReason::UnknownDestination},
      {"at the port that is asked for", state::ApplicationTunnel{true, 0}, RefuseReason::UnknownDestination},
  };
  for (const Case& one : cases) {
    INFO(one.description);
    Parts parts;
    state::Store store;
    store.upsert(pod_with(one.tunnel));
    parts.admission.set_snapshot(store.publish());
    tls::test::Tunnels link;
    static_cast<void>(parts.add_tunnel(std::move(link.server), parts.key(), false));
    direct::Open open;
    open.source = Endpoint::parse("10.1.0.9:1").value();
    open.destination = Endpoint::parse("10.1.0.5:80").value();
    static_cast<void>(tls::test::send_control(link.client_end, link.client, text_of(open)));
    std::string answer;
    static_cast<void>(parts.turn_until(
        [&] {
          for (const std::string& message : tls::test::receive(link.client_end, link.client).control) answer += message;
        },
        [&] { return !answer.empty(); }));
    CHECK(answer == text_of(direct::Refuse{one.expected}));
    CHECK(parts.state.flows.size() == 0);
  }
}

}  // namespace
}  // namespace culvert::proxy::test
