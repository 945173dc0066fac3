// SPDX-License-Identifier: Apache-2.0
// The AEAD engine on OpenSSL's EVP: every cipher, every processor. Two contexts, since a context is either for sealing or for
// opening; the unused one is never made.
#include <array>

#include <openssl/evp.h>

#include "base/secret.hpp"
#include "tls/aead.hpp"

namespace culvert::tls {
namespace {

// EVP_CIPHER_fetch looks names up under a lock; the implicit EVP_aes_128_gcm() would do so for every key.
const EVP_CIPHER* fetched(Cipher cipher) noexcept {
  static const std::array<const EVP_CIPHER*, 3> kCiphers = {::EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr),
                                                            ::EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr),
                                                            ::EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr)};
  return kCiphers[static_cast<std::size_t>(cipher)];
}

class EvpAead final : public Aead {
 public:
  EvpAead(Cipher cipher, EVP_CIPHER_CTX* context) noexcept : context_(context), cipher_(cipher) {}
  ~EvpAead() override { ::EVP_CIPHER_CTX_free(context_); }

  bool set_key(ByteView key) noexcept override {
    key_.assign(key);
    direction_ = -1;
    return fetched(cipher_) != nullptr;
  }

  bool seal(const std::uint8_t* nonce, const std::uint8_t* header, ByteView content, std::uint8_t type,
            std::uint8_t* out) noexcept override {
    int written = 0;
    if (!begin(1, nonce) || ::EVP_EncryptUpdate(context_, nullptr, &written, header, kRecordHeaderBytes) != 1)
      return false;
    std::size_t done = 0;
    if (!content.empty()) {
      if (::EVP_EncryptUpdate(context_, out, &written, content.data(), static_cast<int>(content.size())) != 1)
        return false;
      done = static_cast<std::size_t>(written);
    }
    if (::EVP_EncryptUpdate(context_, out + done, &written, &type, 1) != 1) return false;
    done += static_cast<std::size_t>(written);
    if (::EVP_EncryptFinal_ex(context_, out + done, &written) != 1) return false;
    return ::EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, kTagBytes, out + content.size() + 1) == 1;
  }

  bool open(const std::uint8_t* nonce, const std::uint8_t* header, ByteView sealed,
            std::uint8_t* out) noexcept override {
    const std::size_t size = sealed.size() - kTagBytes;
    int written = 0;
    if (!begin(0, nonce) || ::EVP_DecryptUpdate(context_, nullptr, &written, header, kRecordHeaderBytes) != 1)
      return false;
    if (::EVP_DecryptUpdate(context_, out, &written, sealed.data(), static_cast<int>(size)) != 1) return false;
    std::array<std::uint8_t, kTagBytes> tag;  // the control call wants it mutable
    std::memcpy(tag.data(), sealed.data() + size, tag.size());
    if (::EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) != 1) return false;
    return ::EVP_DecryptFinal_ex(context_, out + written, &written) == 1;
  }

  void wipe() noexcept override {
    key_.wipe();
    direction_ = -1;
    ::EVP_CIPHER_CTX_reset(context_);
  }

 private:
  // `direction`: 1 to seal, 0 to open. The key is expanded when the direction is first used.
  bool begin(int direction, const std::uint8_t* nonce) noexcept {
    if (direction_ == direction) return ::EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, nonce, direction) == 1;
    direction_ = direction;
    return ::EVP_CipherInit_ex(context_, fetched(cipher_), nullptr, key_.view().data(), nonce, direction) == 1;
  }

  EVP_CIPHER_CTX* context_;
  Secret<32> key_;
  Cipher cipher_;
  int direction_ = -1;
};

}  // namespace

std::unique_ptr<Aead> make_evp_aead(Cipher cipher, ByteView key) {
  EVP_CIPHER_CTX* context = ::EVP_CIPHER_CTX_new();
  if (context == nullptr) return nullptr;
  auto aead = std::make_unique<EvpAead>(cipher, context);
  if (!aead->set_key(key)) return nullptr;
  return aead;
}

}  // namespace culvert::tls
