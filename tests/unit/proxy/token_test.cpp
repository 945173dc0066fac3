// SPDX-License-Identifier: Apache-2.0
#include "proxy/token.hpp"

#include <catch2/catch.hpp>

#include "proxy/flow.hpp"
#include "proxy/pod_table.hpp"
#include "proxy/tunnel.hpp"

namespace culvert::proxy {

TEST_CASE("kind, index and generation survive the token") {
  const SlabHandle handle{0xdeadbeef, 0x0fffffff};
  const std::uint64_t token = make_token(TokenKind::Tunnel, handle);
  CHECK(token_kind(token) == TokenKind::Tunnel);
  CHECK(token_handle(token) == handle);
}

TEST_CASE("a listener's token carries slot, kind and family") {
  for (const ListenerKind kind : {ListenerKind::Outbound, ListenerKind::InboundPlaintext, ListenerKind::Tunnel}) {
    for (const bool is_v6 : {false, true}) {
      const SlabHandle handle = listener_handle(77, kind, is_v6);
      CHECK(handle.index == 77);
      CHECK(listener_kind(handle) == kind);
      CHECK(listener_is_v6(handle) == is_v6);
    }
  }
}

TEST_CASE("an idle connection costs less than a kibibyte on each side") {
  CHECK(sizeof(Flow) + sizeof(Tunnel) <= 1024);
}

}  // namespace culvert::proxy
