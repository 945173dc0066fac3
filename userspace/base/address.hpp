// SPDX-License-Identifier: Apache-2.0
// IP addresses and endpoints as values. IPv4 is kept v4-mapped (::ffff:a.b.c.d), as in the BPF maps, so that one key
// type serves both families; a v4-mapped address that arrives on an IPv6 socket is the same value as its IPv4 form.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <netinet/in.h>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace culvert {

class IpAddress {
 public:
  IpAddress() noexcept = default;  // ::, "unspecified"
  // 4 or 16 bytes in network order.
  [[nodiscard]] static Result<IpAddress> from_bytes(ByteView bytes);
  // Dotted IPv4 or IPv6 text, without brackets or zone.
  [[nodiscard]] static Result<IpAddress> parse(std::string_view text);
  [[nodiscard]] static IpAddress v4(in_addr address) noexcept;
  [[nodiscard]] static IpAddress v6(const in6_addr& address) noexcept;

  [[nodiscard]] bool is_v4() const noexcept;
  [[nodiscard]] bool is_loopback() const noexcept;
  [[nodiscard]] bool is_unspecified() const noexcept;
  // AF_INET or AF_INET6.
  [[nodiscard]] int family() const noexcept { return is_v4() ? AF_INET : AF_INET6; }
  // 16 bytes, network order, v4-mapped for IPv4.
  [[nodiscard]] const std::array<std::uint8_t, 16>& mapped() const noexcept { return bytes_; }
  // 4 or 16 bytes, network order.
  [[nodiscard]] ByteView wire() const noexcept;
  [[nodiscard]] std::string to_string() const;
  // True when the first `bits` bits agree; `bits` counts in the address's own family (0..32 or 0..128).
  [[nodiscard]] bool in_prefix(const IpAddress& network, unsigned bits) const noexcept;
  // With nothing but its first `bits` bits, counted likewise.
  [[nodiscard]] IpAddress masked(unsigned bits) const noexcept;

  auto operator<=>(const IpAddress&) const noexcept = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// An address range such as 10.0.0.0/8. `bits` counts in the family of `network`.
struct Cidr {
  IpAddress network;
  std::uint8_t bits = 0;

  [[nodiscard]] static Result<Cidr> parse(std::string_view text);
  // An address of 4 or 16 bytes in network order, and how many of their bits count: of an IPv4-mapped address at least the 96 in front.
  [[nodiscard]] static Result<Cidr> from_bytes(ByteView bytes, std::uint32_t bits);
  [[nodiscard]] bool is_whole() const noexcept { return bits == (network.is_v4() ? 32 : 128); }
  [[nodiscard]] bool contains(const IpAddress& address) const noexcept { return address.in_prefix(network, bits); }
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Cidr&) const noexcept = default;
};

// An address and a port in host order.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  // "10.0.0.1:80" or "[2001:db8::1]:80".
  [[nodiscard]] static Result<Endpoint> parse(std::string_view text);
  [[nodiscard]] static Endpoint from_sockaddr(const sockaddr_storage& storage) noexcept;
  // Fills `storage` and gives its length. `as_v6` writes IPv4 as v4-mapped, for dual-stack sockets.
  socklen_t to_sockaddr(sockaddr_storage& storage, bool as_v6 = false) const noexcept;
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const Endpoint&) const noexcept = default;
};

}  // namespace culvert

template <>
struct std::hash<culvert::IpAddress> {
  std::size_t operator()(const culvert::IpAddress& address) const noexcept {
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(address.mapped().data()), address.mapped().size()});
  }
};
template <>
struct std::hash<culvert::Endpoint> {
  std::size_t operator()(const culvert::Endpoint& endpoint) const noexcept {
    return std::hash<culvert::IpAddress>{}(endpoint.address) * 31U + endpoint.port;
  }
};
