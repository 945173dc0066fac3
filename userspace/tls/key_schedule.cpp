// SPDX-License-Identifier: Apache-2.0
#include "tls/key_schedule.hpp"

#include <array>

#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace culvert::tls {
namespace {

constexpr std::size_t kHashBytesMax = 48;
constexpr std::string_view kLabelPrefix = "tls13 ";

// HMAC through EVP_MD: the one-shot HMAC() is not deprecated in OpenSSL 3 and needs no context of ours.
bool hmac(Cipher cipher, ByteView key, ByteView data, std::uint8_t* out) noexcept {
  const EVP_MD* digest = cipher == Cipher::Aes256Gcm ? EVP_sha384() : EVP_sha256();
  unsigned size = 0;
  return ::HMAC(digest, key.data(), static_cast<int>(key.size()), data.data(), data.size(), out, &size) != nullptr &&
         size == hash_bytes(cipher);
}

}  // namespace

std::size_t hash_bytes(Cipher cipher) noexcept { return cipher == Cipher::Aes256Gcm ? 48 : 32; }
std::size_t key_bytes(Cipher cipher) noexcept { return cipher == Cipher::Aes128Gcm ? 16 : 32; }

bool hkdf_expand_label(Cipher cipher, ByteView secret, std::string_view label, ByteView context,
                       MutableBytes out) noexcept {
  // T(i) = HMAC(secret, T(i-1) || HkdfLabel || i), RFC 5869 section 2.3; HkdfLabel is at most 2 + 1 + 255 + 1 + 255 bytes.
  std::array<std::uint8_t, kHashBytesMax + 514 + 1> block;
  std::array<std::uint8_t, kHashBytesMax> previous;
  const std::size_t size = hash_bytes(cipher);
  std::size_t done = 0;
  bool is_ok = true;
  for (std::uint8_t round = 1; is_ok && done < out.size(); ++round) {
    ByteWriter writer(block);
    if (round > 1) writer.bytes({previous.data(), size});
    writer.u16(static_cast<std::uint16_t>(out.size()));
    writer.u8(static_cast<std::uint8_t>(kLabelPrefix.size() + label.size()));
    writer.bytes(as_bytes(kLabelPrefix));
    writer.bytes(as_bytes(label));
    writer.u8(static_cast<std::uint8_t>(context.size()));
    writer.bytes(context);
    writer.u8(round);
    is_ok = writer.ok() && hmac(cipher, secret, writer.written(), previous.data());
    if (!is_ok) break;
    const std::size_t taken = std::min(size, out.size() - done);
    std::memcpy(out.data() + done, previous.data(), taken);
    done += taken;
  }
  secure_wipe(previous.data(), previous.size());
  secure_wipe(block.data(), block.size());
  return is_ok;
}

bool install_secret(Cipher cipher, ByteView secret, TrafficKeys& keys) noexcept {
  std::array<std::uint8_t, 32> key;
  std::array<std::uint8_t, 12> iv;
  const bool is_ok = secret.size() == hash_bytes(cipher) &&
                     hkdf_expand_label(cipher, secret, "key", {}, {key.data(), key_bytes(cipher)}) &&
                     hkdf_expand_label(cipher, secret, "iv", {}, iv);
  if (is_ok) {
    keys.secret.assign(secret);
    keys.key.assign({key.data(), key_bytes(cipher)});
    keys.iv.assign(iv);
    keys.sequence = 0;
  }
  secure_wipe(key.data(), key.size());
  secure_wipe(iv.data(), iv.size());
  return is_ok;
}

bool next_generation(Cipher cipher, TrafficKeys& keys) noexcept {
  std::array<std::uint8_t, kHashBytesMax> next;
  const MutableBytes secret{next.data(), hash_bytes(cipher)};
  const bool is_ok =
      hkdf_expand_label(cipher, keys.secret.view(), "traffic upd", {}, secret) && install_secret(cipher, secret, keys);
  secure_wipe(next.data(), next.size());
  return is_ok;
}

}  // namespace culvert::tls
