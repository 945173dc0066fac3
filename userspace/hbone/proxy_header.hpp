// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol header, version 2, that an application tunnel starts with: who the client is, for an application that asked for it
// (a waypoint, mostly). TLV 0xD0 carries the client's SPIFFE ID. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "base/address.hpp"

namespace culvert::hbone {

inline constexpr std::uint8_t kProxyTlvIdentity = 0xd0;

// Source and destination of different families are written as IPv6 (IPv4-mapped). `identity` empty: no TLV; longer than 65,000 bytes never.
[[nodiscard]] std::vector<std::uint8_t> make_proxy_header(const Endpoint& source, const Endpoint& destination,
                                                          std::string_view identity);

}  // namespace culvert::hbone
