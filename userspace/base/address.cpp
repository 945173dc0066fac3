// SPDX-License-Identifier: Apache-2.0
#include "base/address.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace culvert {
namespace {

constexpr std::array<std::uint8_t, 12> kV4MappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

template <typename Number>
bool parse_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

}  // namespace

Result<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  IpAddress address;
  if (bytes.size() == 4) {
    std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), address.bytes_.begin());
    std::copy(bytes.begin(), bytes.end(), address.bytes_.begin() + 12);
    return address;
  }
  if (bytes.size() == 16) {
    std::copy(bytes.begin(), bytes.end(), address.bytes_.begin());
    return address;
  }
  return fail(ErrorCode::InvalidArgument, "an address has 4 or 16 bytes, not {}", bytes.size());
}

Result<Cidr> Cidr::from_bytes(ByteView bytes, std::uint32_t bits) {
  const IpAddress address = CV_TRY(IpAddress::from_bytes(bytes));
  const auto bits_max = static_cast<std::uint32_t>(8 * bytes.size());
  if (bits > bits_max) {
    return fail(ErrorCode::InvalidArgument, "{} has the prefix length {}; at most {} bits", address.to_string(), bits,
                bits_max);
  }
  const std::uint32_t in_front = address.is_v4() ? bits_max - 32 : 0;
  if (bits < in_front) {
    return fail(ErrorCode::InvalidArgument, "{} in 16 bytes has the prefix length {}; at least {} bits",
                address.to_string(), bits, in_front);
  }
  return Cidr{address, static_cast<std::uint8_t>(bits - in_front)};
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  if (terminated.find('\0') != std::string::npos)
    return fail(ErrorCode::InvalidArgument, "an address has no NUL in it");
  in_addr four{};
  if (::inet_pton(AF_INET, terminated.c_str(), &four) == 1) return v4(four);
  in6_addr six{};
  if (::inet_pton(AF_INET6, terminated.c_str(), &six) == 1) return v6(six);
  return fail(ErrorCode::InvalidArgument, "'{}' is not an IPv4 or IPv6 address", text);
}

IpAddress IpAddress::v4(in_addr address) noexcept {
  IpAddress result;
  std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), result.bytes_.begin());
  std::memcpy(result.bytes_.data() + 12, &address, 4);
  return result;
}

IpAddress IpAddress::v6(const in6_addr& address) noexcept {
  IpAddress result;
  std::memcpy(result.bytes_.data(), &address, 16);
  return result;
}

bool IpAddress::is_v4() const noexcept {
  return std::equal(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), bytes_.begin());
}

bool IpAddress::is_loopback() const noexcept {
  if (is_v4()) return bytes_[12] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t byte) { return byte == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_unspecified() const noexcept {
  const auto first = is_v4() ? bytes_.begin() + 12 : bytes_.begin();
  return std::all_of(first, bytes_.end(), [](std::uint8_t byte) { return byte == 0; });
}

ByteView IpAddress::wire() const noexcept {
  const ByteView all(bytes_);
  return is_v4() ? all.last(4) : all;
}

std::string IpAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(family(), wire().data(), text, sizeof(text));
  return text;
}

bool IpAddress::in_prefix(const IpAddress& network, unsigned bits) const noexcept {
  if (is_v4() != network.is_v4()) return false;
  const ByteView mine = wire();
  const ByteView theirs = network.wire();
  const std::size_t whole = std::min<std::size_t>(bits / 8U, mine.size());
  if (std::memcmp(mine.data(), theirs.data(), whole) != 0) return false;
  const unsigned rest = bits % 8U;
  if (rest == 0 || whole == mine.size()) return true;
  const auto mask = static_cast<std::uint8_t>(0xffU << (8U - rest));
  return (mine[whole] & mask) == (theirs[whole] & mask);
}

IpAddress IpAddress::masked(unsigned bits) const noexcept {
  IpAddress made = *this;
  const std::size_t begin = is_v4() ? kV4MappedPrefix.size() : 0;
  for (std::size_t i = begin + bits / 8U; i < made.bytes_.size(); ++i) {
    const unsigned kept = i == begin + bits / 8U ? bits % 8U : 0;
    made.bytes_[i] &= static_cast<std::uint8_t>(0xff00U >> kept);
  }
  return made;
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.rfind('/');
  Cidr cidr;
  cidr.network = CV_TRY(IpAddress::parse(text.substr(0, slash)));
  const unsigned widest = cidr.network.is_v4() ? 32 : 128;
  unsigned bits = widest;
  if (slash != std::string_view::npos && (!parse_number(text.substr(slash + 1), bits) || bits > widest)) {
    return fail(ErrorCode::InvalidArgument, "'{}' is not a range: the prefix length must be 0 to {}", text, widest);
  }
  cidr.bits = static_cast<std::uint8_t>(bits);
  return cidr;
}

std::string Cidr::to_string() const { return fmt::format("{}/{}", network.to_string(), bits); }

Result<Endpoint> Endpoint::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return fail(ErrorCode::InvalidArgument, "'{}' has no port: write ADDRESS:PORT", text);
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return fail(ErrorCode::InvalidArgument, "'{}': write an IPv6 endpoint as [ADDRESS]:PORT", text);
  }
  Endpoint endpoint;
  endpoint.address = CV_TRY(IpAddress::parse(host));
  if (!parse_number(text.substr(colon + 1), endpoint.port)) {
    return fail(ErrorCode::InvalidArgument, "'{}': the port must be a number from 0 to 65535", text);
  }
  return endpoint;
}

Endpoint Endpoint::from_sockaddr(const sockaddr_storage& storage) noexcept {
  Endpoint endpoint;
  if (storage.ss_family == AF_INET) {
    sockaddr_in four;
    std::memcpy(&four, &storage, sizeof(four));
    endpoint.address = IpAddress::v4(four.sin_addr);
    endpoint.port = ntohs(four.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 six;
    std::memcpy(&six, &storage, sizeof(six));
    endpoint.address = IpAddress::v6(six.sin6_addr);
    endpoint.port = ntohs(six.sin6_port);
  }
  return endpoint;
}

socklen_t Endpoint::to_sockaddr(sockaddr_storage& storage, bool as_v6) const noexcept {
  storage = {};
  if (address.is_v4() && !as_v6) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    std::memcpy(&four.sin_addr, address.wire().data(), 4);
    std::memcpy(&storage, &four, sizeof(four));
    return sizeof(four);
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  std::memcpy(&six.sin6_addr, address.mapped().data(), 16);
  std::memcpy(&storage, &six, sizeof(six));
  return sizeof(six);
}

std::string Endpoint::to_string() const {
  return address.is_v4() ? fmt::format("{}:{}", address.to_string(), port)
                         : fmt::format("[{}]:{}", address.to_string(), port);
}

}  // namespace culvert
