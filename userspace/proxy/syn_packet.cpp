// SPDX-License-Identifier: Apache-2.0
#include "proxy/syn_packet.hpp"

#include <algorithm>

namespace culvert::proxy {
namespace {

constexpr std::size_t kIpv4Bytes = 20;
constexpr std::size_t kIpv6Bytes = 40;
constexpr std::size_t kTcpBytes = 20;
constexpr std::size_t kIcmpBytes = 8;
constexpr std::uint8_t kProtocolIcmp = 1;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolIcmpV6 = 58;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint8_t kFlagSyn = 0x02;
constexpr std::uint8_t kFlagsRstAck = 0x14;
constexpr std::uint8_t kFlagsThatMatter = 0x17;  // FIN, SYN, RST, ACK

void put_u16(MutableBytes bytes, std::size_t at, std::uint16_t value) noexcept {
  bytes[at] = static_cast<std::uint8_t>(value >> 8U);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}
void put_u32(MutableBytes bytes, std::size_t at, std::uint32_t value) noexcept {
  put_u16(bytes, at, static_cast<std::uint16_t>(value >> 16U));
  put_u16(bytes, at + 2, static_cast<std::uint16_t>(value));
}
std::uint16_t get_u16(ByteView bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

// RFC 1071. What is summed here is far below 64 KiB, so the carries fit.
std::uint32_t sum_of(ByteView bytes) noexcept {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8U : bytes[i];
  return sum;
}
std::uint16_t folded(std::uint32_t sum) noexcept {
  sum = (sum & 0xffffU) + (sum >> 16U);
  sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}
// Over `payload` and its pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1); the addresses count alike in both directions.
std::uint16_t transport_checksum(const IpAddress& one, const IpAddress& other, std::uint8_t protocol,
                                 ByteView payload) noexcept {
  return folded(sum_of(one.wire()) + sum_of(other.wire()) + protocol + static_cast<std::uint32_t>(payload.size()) +
                sum_of(payload));
}

void finish_ipv4(MutableBytes header, std::size_t total_bytes) noexcept {
  put_u16(header, 2, static_cast<std::uint16_t>(total_bytes));
  put_u16(header, 10, 0);
  put_u16(header, 10, folded(sum_of(header)));
}

}  // namespace

std::optional<SynPacket> SynPacket::parse(ByteView packet) noexcept {
  SynPacket syn;
  if (packet.size() < kIpv4Bytes + kTcpBytes || packet.size() > syn.bytes_.size()) return std::nullopt;
  const unsigned version = packet[0] >> 4U;
  std::size_t ip_bytes = 0;
  std::size_t addresses_at = 0;
  std::size_t address_bytes = 0;
  if (version == 4) {
    ip_bytes = (packet[0] & 0x0fU) * 4U;
    addresses_at = 12;
    address_bytes = 4;
    const bool is_fragment = (get_u16(packet, 6) & 0x3fffU) != 0;
    if (ip_bytes < kIpv4Bytes || packet[9] != kProtocolTcp || is_fragment) return std::nullopt;
  } else if (version == 6) {
    ip_bytes = kIpv6Bytes;
    addresses_at = 8;
    address_bytes = 16;
    if (packet[6] != kProtocolTcp) return std::nullopt;
  } else {
    return std::nullopt;
  }
  if (packet.size() < ip_bytes + kTcpBytes) return std::nullopt;
  const ByteView tcp = packet.subspan(ip_bytes);
  const std::size_t tcp_bytes = (tcp[12] >> 4U) * 4U;
  if (tcp_bytes != tcp.size() || (tcp[13] & kFlagsThatMatter) != kFlagSyn) return std::nullopt;

  syn.source_ = {*IpAddress::from_bytes(packet.subspan(addresses_at, address_bytes)), get_u16(tcp, 0)};
  syn.destination_ = {*IpAddress::from_bytes(packet.subspan(addresses_at + address_bytes, address_bytes)),
                      get_u16(tcp, 2)};
  if (syn.is_v4() != (version == 4)) return std::nullopt;  // a v4-mapped address in IPv6
  syn.sequence_ = std::uint32_t{get_u16(tcp, 4)} << 16U | get_u16(tcp, 6);
  syn.ip_bytes_ = static_cast<std::uint8_t>(ip_bytes);
  syn.size_ = static_cast<std::uint8_t>(packet.size());
  std::ranges::copy(packet, syn.bytes_.begin());

  const MutableBytes copy = MutableBytes(syn.bytes_).first(packet.size());
  if (version == 4) {
    finish_ipv4(copy.first(ip_bytes), copy.size());
  } else {
    put_u16(copy, 4, static_cast<std::uint16_t>(tcp_bytes));
  }
  const MutableBytes header = copy.subspan(ip_bytes);
  put_u16(header, 16, 0);
  put_u16(header, 16, transport_checksum(syn.source_.address, syn.destination_.address, kProtocolTcp, header));
  return syn;
}

ByteView SynPacket::make_again(FrameBuffer& out) const noexcept {
  std::fill_n(out.begin(), kEthernetBytes, std::uint8_t{0});
  put_u16(out, kEthernetBytes - 2, is_v4() ? 0x0800 : 0x86dd);
  std::copy_n(bytes_.begin(), size_, out.begin() + kEthernetBytes);
  return ByteView(out).first(kEthernetBytes + size_);
}

// Ethernet and IP header of an answer, from the destination to the source; gives where the payload begins.
std::size_t SynPacket::begin_frame(FrameBuffer& out, std::size_t payload_bytes, std::uint8_t protocol) const noexcept {
  out.fill(0);
  const std::size_t ip_bytes = is_v4() ? kIpv4Bytes : kIpv6Bytes;
  put_u16(out, kEthernetBytes - 2, is_v4() ? 0x0800 : 0x86dd);
  const MutableBytes ip = MutableBytes(out).subspan(kEthernetBytes, ip_bytes);
  const ByteView from = destination_.address.wire();
  const ByteView to = source_.address.wire();
  if (is_v4()) {
    ip[0] = 0x45;
    put_u16(ip, 6, 0x4000);  // don't fragment
    ip[8] = kHopLimit;
    ip[9] = protocol;
    std::ranges::copy(from, ip.begin() + 12);
    std::ranges::copy(to, ip.begin() + 16);
    finish_ipv4(ip, ip_bytes + payload_bytes);
  } else {
    ip[0] = 0x60;
    put_u16(ip, 4, static_cast<std::uint16_t>(payload_bytes));
    ip[6] = protocol;
    ip[7] = kHopLimit;
    std::ranges::copy(from, ip.begin() + 8);
    std::ranges::copy(to, ip.begin() + 24);
  }
  return kEthernetBytes + ip_bytes;
}

ByteView SynPacket::make_reset(FrameBuffer& out) const noexcept {
  const std::size_t at = begin_frame(out, kTcpBytes, kProtocolTcp);
  const MutableBytes tcp = MutableBytes(out).subspan(at, kTcpBytes);
  put_u16(tcp, 0, destination_.port);
  put_u16(tcp, 2, source_.port);
  put_u32(tcp, 8, sequence_ + 1);
  tcp[12] = (kTcpBytes / 4) << 4U;
  tcp[13] = kFlagsRstAck;
  put_u16(tcp, 16, transport_checksum(source_.address, destination_.address, kProtocolTcp, tcp));
  return ByteView(out).first(at + kTcpBytes);
}

ByteView SynPacket::make_unreachable(FrameBuffer& out) const noexcept {
  const std::size_t size = kIcmpBytes + size_;
  const std::size_t at = begin_frame(out, size, is_v4() ? kProtocolIcmp : kProtocolIcmpV6);
  const MutableBytes icmp = MutableBytes(out).subspan(at, size);
  icmp[0] = is_v4() ? 3 : 1;  // destination unreachable
  icmp[1] = is_v4() ? 1 : 3;  // the host; the address
  std::copy_n(bytes_.begin(), size_, icmp.begin() + kIcmpBytes);
  put_u16(icmp, 2,
          is_v4() ? folded(sum_of(icmp))
                  : transport_checksum(source_.address, destination_.address, kProtocolIcmpV6, icmp));
  return ByteView(out).first(at + size);
}

}  // namespace culvert::proxy
