// SPDX-License-Identifier: Apache-2.0
#include "hbone/proxy_header.hpp"

#include <array>

#include "base/assert.hpp"
#include "base/bytes.hpp"

namespace culvert::hbone {
namespace {

// Section 2.2 of the PROXY protocol's specification: signature, version 2 and command PROXY, family and STREAM, length of the rest.
constexpr std::array<std::uint8_t, 12> kSignature = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};
constexpr std::uint8_t kVersionCommand = 0x21;
constexpr std::uint8_t kTcp4 = 0x11;
constexpr std::uint8_t kTcp6 = 0x21;
constexpr std::size_t kFixedBytes = 16;
constexpr std::size_t kTlvHeaderBytes = 3;
constexpr std::size_t kIdentityBytesMax = 65'000;

}  // namespace

std::vector<std::uint8_t> make_proxy_header(const Endpoint& source, const Endpoint& destination,
                                            std::string_view identity) {
  CV_ASSERT(identity.size() <= kIdentityBytesMax);
  const bool is_v4 = source.address.is_v4() && destination.address.is_v4();
  const auto address = [&](const Endpoint& endpoint) {
    return is_v4 ? endpoint.address.wire() : ByteView(endpoint.address.mapped());
  };
  const std::size_t address_bytes = 2 * (address(source).size() + sizeof(std::uint16_t));
  const std::size_t rest = address_bytes + (identity.empty() ? 0 : kTlvHeaderBytes + identity.size());
  std::vector<std::uint8_t> header(kFixedBytes + rest);
  ByteWriter writer(header);
  writer.bytes(kSignature);
  writer.u8(kVersionCommand);
  writer.u8(is_v4 ? kTcp4 : kTcp6);
  writer.u16(static_cast<std::uint16_t>(rest));
  writer.bytes(address(source));
  writer.bytes(address(destination));
  writer.u16(source.port);
  writer.u16(destination.port);
  if (!identity.empty()) {
    writer.u8(kProxyTlvIdentity);
    writer.u16(static_cast<std::uint16_t>(identity.size()));
    writer.bytes(as_bytes(identity));
  }
  CV_ASSERT(writer.ok() && writer.size() == header.size());
  return header;
}

}  // namespace culvert::hbone
