// SPDX-License-Identifier: Apache-2.0
#include "tls/kernel_tls.hpp"

#include <cerrno>
#include <cstring>

#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/secret.hpp"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

namespace culvert::tls::kernel {
namespace {

union CryptoInfo {
  tls_crypto_info info;
  tls12_crypto_info_aes_gcm_128 aes128;
  tls12_crypto_info_aes_gcm_256 aes256;
  tls12_crypto_info_chacha20_poly1305 chacha;
};

// The kernel names GCM's first four IV bytes the salt; ChaCha20 has all twelve in `iv`.
template <typename GcmInfo>
void fill_gcm(GcmInfo& info, const TrafficKeys& keys) noexcept {
  std::memcpy(info.key, keys.key.view().data(), sizeof(info.key));
  std::memcpy(info.salt, keys.iv.view().data(), sizeof(info.salt));
  std::memcpy(info.iv, keys.iv.view().data() + sizeof(info.salt), sizeof(info.iv));
}

socklen_t info_bytes(Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::Aes128Gcm: return sizeof(tls12_crypto_info_aes_gcm_128);
    case Cipher::Aes256Gcm: return sizeof(tls12_crypto_info_aes_gcm_256);
    case Cipher::ChaCha20Poly1305: return sizeof(tls12_crypto_info_chacha20_poly1305);
  }
  return 0;
}

std::uint16_t kernel_cipher(Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::Aes128Gcm: return TLS_CIPHER_AES_GCM_128;
    case Cipher::Aes256Gcm: return TLS_CIPHER_AES_GCM_256;
    case Cipher::ChaCha20Poly1305: return TLS_CIPHER_CHACHA20_POLY1305;
  }
  return 0;
}

unsigned char* sequence_field(CryptoInfo& crypto, Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::Aes128Gcm: return crypto.aes128.rec_seq;
    case Cipher::Aes256Gcm: return crypto.aes256.rec_seq;
    case Cipher::ChaCha20Poly1305: return crypto.chacha.rec_seq;
  }
  return nullptr;
}

int option_of(Direction direction) noexcept { return direction == Direction::Tx ? TLS_TX : TLS_RX; }

struct alignas(cmsghdr) ControlSpace {
  char bytes[CMSG_SPACE(sizeof(unsigned char))];
};

}  // namespace

int attach_ulp(int fd) noexcept {
  static constexpr char kName[] = "tls";
  return ::setsockopt(fd, IPPROTO_TCP, TCP_ULP, kName, sizeof(kName) - 1) == 0 ? 0 : errno;
}

int install(int fd, Direction direction, Cipher cipher, const TrafficKeys& keys) noexcept {
  CryptoInfo crypto;
  std::memset(&crypto, 0, sizeof(crypto));
  crypto.info.version = TLS_1_3_VERSION;
  crypto.info.cipher_type = kernel_cipher(cipher);
  switch (cipher) {
    case Cipher::Aes128Gcm: fill_gcm(crypto.aes128, keys); break;
    case Cipher::Aes256Gcm: fill_gcm(crypto.aes256, keys); break;
    case Cipher::ChaCha20Poly1305:
      std::memcpy(crypto.chacha.key, keys.key.view().data(), sizeof(crypto.chacha.key));
      std::memcpy(crypto.chacha.iv, keys.iv.view().data(), sizeof(crypto.chacha.iv));
      break;
  }
  const std::uint64_t sequence_be = __builtin_bswap64(keys.sequence);
  std::memcpy(sequence_field(crypto, cipher), &sequence_be, sizeof(sequence_be));
  const int status = ::setsockopt(fd, SOL_TLS, option_of(direction), &crypto, info_bytes(cipher)) == 0 ? 0 : errno;
  secure_wipe(&crypto, sizeof(crypto));
  return status;
}

std::optional<std::uint64_t> tx_sequence(int fd, Cipher cipher) noexcept {
  CryptoInfo crypto;
  socklen_t size = info_bytes(cipher);
  std::optional<std::uint64_t> sequence;
  if (::getsockopt(fd, SOL_TLS, TLS_TX, &crypto, &size) == 0) {
    std::uint64_t sequence_be = 0;
    std::memcpy(&sequence_be, sequence_field(crypto, cipher), sizeof(sequence_be));
    sequence = __builtin_bswap64(sequence_be);
  }
  secure_wipe(&crypto, sizeof(crypto));
  return sequence;
}

ssize_t send_record(int fd, std::uint8_t type, ByteView data) noexcept {
  ControlSpace control{};
  iovec part{const_cast<std::uint8_t*>(data.data()), data.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_TLS;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(sizeof(type));
  std::memcpy(CMSG_DATA(header), &type, sizeof(type));
  const ssize_t sent = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? -errno : sent;
}

Received receive_records(int fd, MutableBytes space) noexcept {
  ControlSpace control{};
  iovec part{space.data(), space.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  Received received;
  received.bytes = ::recvmsg(fd, &message, MSG_DONTWAIT);
  if (received.bytes < 0) {
    received.bytes = -errno;
    return received;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE) {
      std::memcpy(&received.type, CMSG_DATA(header), sizeof(received.type));
    }
  }
  return received;
}

}  // namespace culvert::tls::kernel
