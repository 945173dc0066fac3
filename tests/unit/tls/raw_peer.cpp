// SPDX-License-Identifier: Apache-2.0
#include "raw_peer.hpp"

#include <catch2/catch.hpp>

#include <vector>

#include <poll.h>
#include <sys/socket.h>

#include "support.hpp"
#include "tls/aead.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"

namespace culvert::tls {

struct TunnelSocketAccess {
  static UniqueFd take_fd(TunnelSocket& socket) { return std::move(socket.fd_); }
  static TrafficKeys take_tx(TunnelSocket& socket) { return std::move(socket.tx_); }
  static TrafficKeys take_rx(TunnelSocket& socket) { return std::move(socket.rx_); }
};

namespace test {

RawPeer::RawPeer(TunnelSocket&& socket)
    : fd_(TunnelSocketAccess::take_fd(socket)),
      cipher_(socket.cipher()),
      tx_(TunnelSocketAccess::take_tx(socket)),
      rx_(TunnelSocketAccess::take_rx(socket)) {}

std::string RawPeer::seal(std::uint8_t type, std::string_view content) {
  std::string out(sealed_bytes(content.size()), '\0');
  const auto aead = make_evp_aead(cipher_, tx_.key.view());
  REQUIRE(seal_records(*aead, tx_, type, as_bytes(content), reinterpret_cast<std::uint8_t*>(out.data())));
  return out;
}

void RawPeer::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      wait_for(fd_.get(), POLLOUT, 1000);
      continue;
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void RawPeer::update_key(bool wants_answer) {
  using namespace std::string_literals;
  send(22, wants_answer ? "\x18\0\0\1\1"s : "\x18\0\0\1\0"s);
  REQUIRE(next_generation(cipher_, tx_));
}

RawPeer::Record RawPeer::receive() {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint8_t> out(in_.size() + 1);
    const auto aead = make_evp_aead(cipher_, rx_.key.view());
    const OpenedRecord record = open_record(*aead, rx_, as_bytes(in_), out.data());
    if (record.status == OpenStatus::Record) {
      in_.erase(0, record.consumed_bytes);
      return {record.type, std::string(as_text({out.data(), record.content_bytes}))};
    }
    if (record.status != OpenStatus::Incomplete) return {};
    wait_for(fd_.get(), POLLIN, 50);
    char buffer[65536];
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) in_.append(buffer, static_cast<std::size_t>(got));
  }
  return {};
}

void RawPeer::follow_key_update() { REQUIRE(next_generation(cipher_, rx_)); }
void RawPeer::shut_down() { REQUIRE(::shutdown(fd_.get(), SHUT_WR) == 0); }

}  // namespace test
}  // namespace culvert::tls
