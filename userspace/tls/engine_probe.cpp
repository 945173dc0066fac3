// SPDX-License-Identifier: Apache-2.0
// probe_engines: finds out by trying what the kernel's TLS does here. For each cipher and direction a pair of sockets over
// loopback, one end with the kernel's record layer and the other with ours: data, then a KeyUpdate and the second key.
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/unique_fd.hpp"
#include "tls/aead.hpp"
#include "tls/engine_plan.hpp"
#include "tls/io_context.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"

namespace culvert::tls {
namespace {

constexpr int kPatienceMs = 500;  // over loopback; only a kernel that loses records makes us wait
constexpr std::array<std::uint8_t, 5> kKeyUpdate = {24, 0, 0, 1, 0};
constexpr std::uint8_t kHandshake = static_cast<std::uint8_t>(RecordType::Handshake);
constexpr std::uint8_t kData = static_cast<std::uint8_t>(RecordType::ApplicationData);
constexpr std::uint8_t kControl = static_cast<std::uint8_t>(RecordType::Control);

struct Pair {
  UniqueFd kernel;  // with the ULP
  UniqueFd plain;
};

std::optional<Pair> make_pair_over(int family) {
  sockaddr_storage address{};
  socklen_t size = sizeof(sockaddr_in);
  address.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    size = sizeof(sockaddr_in6);
    reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr = in6addr_loopback;
  }
  const UniqueFd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return std::nullopt;
  }
  Pair pair;
  pair.plain.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!pair.plain || ::connect(pair.plain.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return std::nullopt;
  pair.kernel.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!pair.kernel) return std::nullopt;
  return pair;
}

std::optional<Pair> make_loopback_pair() {
  auto pair = make_pair_over(AF_INET);
  return pair ? std::move(pair) : make_pair_over(AF_INET6);
}

bool wait_readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, kPatienceMs) == 1;
}

TrafficKeys test_keys(Cipher cipher) {
  std::array<std::uint8_t, 48> secret;
  secret.fill(0x5a);
  TrafficKeys keys;
  static_cast<void>(install_secret(cipher, {secret.data(), hash_bytes(cipher)}, keys));
  return keys;
}

// Our end: seals one record and sends it.
bool send_sealed(int fd, Cipher cipher, TrafficKeys& keys, std::uint8_t type, ByteView data) {
  const auto aead = make_evp_aead(cipher, keys.key.view());
  std::array<std::uint8_t, 128> buffer;
  const std::size_t size = sealed_bytes(data.size());
  return aead && size <= buffer.size() && seal_records(*aead, keys, type, data, buffer.data()) &&
         ::send(fd, buffer.data(), size, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

// Our end: receives one record of `data.size()` bytes and compares.
bool receive_sealed(int fd, Cipher cipher, TrafficKeys& keys, std::uint8_t type, ByteView data) {
  std::array<std::uint8_t, 128> buffer;
  std::array<std::uint8_t, 128> content;
  const std::size_t size = sealed_bytes(data.size());
  std::size_t used = 0;
  while (used < size) {
    if (!wait_readable(fd)) return false;
    const ssize_t got = ::recv(fd, buffer.data() + used, size - used, 0);
    if (got <= 0) return false;
    used += static_cast<std::size_t>(got);
  }
  const auto aead = make_evp_aead(cipher, keys.key.view());
  if (!aead) return false;
  const OpenedRecord record = open_record(*aead, keys, {buffer.data(), size}, content.data());
  return record.status == OpenStatus::Record && record.type == type && record.content_bytes == data.size() &&
         std::memcmp(content.data(), data.data(), data.size()) == 0;
}

// The kernel's end: receives one run and compares.
bool receive_kernel(int fd, std::uint8_t type, ByteView data) {
  std::array<std::uint8_t, 128> space;
  if (!wait_readable(fd)) return false;
  const kernel::Received received = kernel::receive_records(fd, space);
  return received.bytes == static_cast<ssize_t>(data.size()) && received.type == type &&
         std::memcmp(space.data(), data.data(), data.size()) == 0;
}

void note(std::string& detail, std::string_view what, int error) {
  if (!detail.empty()) detail += "; ";
  detail += error != 0 ? fmt::format("{}: {}", what, ::strerrordesc_np(error)) : std::string(what);
}

void probe_tx(Cipher cipher, KernelCipherSupport& support) {
  const auto pair = make_loopback_pair();
  TrafficKeys sender = test_keys(cipher);
  TrafficKeys receiver = test_keys(cipher);
  if (!pair) return note(support.detail, "no loopback connection for the test", errno);
  if (const int error = kernel::attach_ulp(pair->kernel.get()); error != 0)
    return note(support.detail, "attach", error);
  int error = kernel::install(pair->kernel.get(), kernel::Direction::Tx, cipher, sender);
  if (error != 0) return note(support.detail, "sending key", error);
  const ByteView text = as_bytes("sent by the kernel");
  if (::send(pair->kernel.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
          static_cast<ssize_t>(text.size()) ||
      !receive_sealed(pair->plain.get(), cipher, receiver, kData, text) ||
      kernel::send_record(pair->kernel.get(), kControl, text) != static_cast<ssize_t>(text.size()) ||
      !receive_sealed(pair->plain.get(), cipher, receiver, kControl, text)) {
    return note(support.detail, "what the kernel sent is not what it should be", 0);
  }
  support.tx = true;
  if (kernel::send_record(pair->kernel.get(), kHandshake, kKeyUpdate) != static_cast<ssize_t>(kKeyUpdate.size()) ||
      !next_generation(cipher, sender)) {
    return note(support.detail, "KeyUpdate cannot be sent", errno);
  }
  error = kernel::install(pair->kernel.get(), kernel::Direction::Tx, cipher, sender);
  if (error != 0) return note(support.detail, "second sending key", error);
  support.tx_rekey = ::send(pair->kernel.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
                         static_cast<ssize_t>(text.size()) &&
                     receive_sealed(pair->plain.get(), cipher, receiver, kHandshake, kKeyUpdate) &&
                     next_generation(cipher, receiver) &&
                     receive_sealed(pair->plain.get(), cipher, receiver, kData, text);
  if (!support.tx_rekey) note(support.detail, "records under the second sending key are wrong", 0);
}

void probe_rx(Cipher cipher, KernelCipherSupport& support) {
  const auto pair = make_loopback_pair();
  TrafficKeys sender = test_keys(cipher);
  TrafficKeys receiver = test_keys(cipher);
  if (!pair) return note(support.detail, "no loopback connection for the test", errno);
  if (const int error = kernel::attach_ulp(pair->kernel.get()); error != 0)
    return note(support.detail, "attach", error);
  int error = kernel::install(pair->kernel.get(), kernel::Direction::Rx, cipher, receiver);
  if (error != 0) return note(support.detail, "receiving key", error);
  const ByteView text = as_bytes("received by the kernel");
  if (!send_sealed(pair->plain.get(), cipher, sender, kData, text) ||
      !receive_kernel(pair->kernel.get(), kData, text) ||
      !send_sealed(pair->plain.get(), cipher, sender, kControl, text) ||
      !receive_kernel(pair->kernel.get(), kControl, text)) {
    return note(support.detail, "what the kernel received is not what was sent", 0);
  }
  support.rx = true;
  if (!send_sealed(pair->plain.get(), cipher, sender, kHandshake, kKeyUpdate) || !next_generation(cipher, sender) ||
      !send_sealed(pair->plain.get(), cipher, sender, kData, text) ||
      !receive_kernel(pair->kernel.get(), kHandshake, kKeyUpdate) || !next_generation(cipher, receiver)) {
    return note(support.detail, "KeyUpdate cannot be received", 0);
  }
  error = kernel::install(pair->kernel.get(), kernel::Direction::Rx, cipher, receiver);
  if (error != 0) return note(support.detail, "second receiving key", error);
  support.rx_rekey = receive_kernel(pair->kernel.get(), kData, text);
  if (!support.rx_rekey) note(support.detail, "records under the second receiving key are wrong", 0);
}

std::string why_no_ulp(int error) {
  if (error == ENOENT) return "the kernel has no TLS (module tls): modprobe tls, where the kernel was built with it";
  return fmt::format("kernel TLS cannot be attached: {}", ::strerrordesc_np(error));
}

}  // namespace

EngineSupport probe_engines() {
  EngineSupport support;
  support.has_ipsec_mb = has_ipsec_mb();
  const auto pair = make_loopback_pair();
  if (!pair) {
    support.ulp_detail = fmt::format("no loopback connection for the test: {}", ::strerrordesc_np(errno));
    return support;
  }
  if (const int error = kernel::attach_ulp(pair->kernel.get()); error != 0) {
    support.ulp_detail = why_no_ulp(error);
    return support;
  }
  support.has_ulp = true;
  for (std::size_t i = 0; i < support.kernel.size(); ++i) {
    probe_tx(static_cast<Cipher>(i), support.kernel[i]);
    probe_rx(static_cast<Cipher>(i), support.kernel[i]);
  }
  return support;
}

}  // namespace culvert::tls
