// SPDX-License-Identifier: Apache-2.0
// The AEAD engine on intel-ipsec-mb's direct GCM calls (amd64): AES-128-GCM and AES-256-GCM with whatever the processor has,
// up to VAES on AVX-512. The library's manager is large, so its function table is taken once and the manager freed.
#include "tls/aead.hpp"

#if defined(__x86_64__)

#include <algorithm>
#include <array>
#include <optional>

#include <intel-ipsec-mb.h>

#include "base/secret.hpp"

namespace culvert::tls {
namespace {

struct GcmFunctions {
  aes_gcm_pre_t pre = nullptr;
  aes_gcm_enc_dec_t seal = nullptr;
  aes_gcm_enc_dec_t open = nullptr;
  aes_gcm_init_t init = nullptr;
  aes_gcm_enc_dec_update_t seal_update = nullptr;
  aes_gcm_enc_dec_finalize_t seal_finalize = nullptr;
};

struct Library {
  GcmFunctions aes128;
  GcmFunctions aes256;
};

// Below this size the content is copied beside its type byte and sealed in one call, which costs less than the three calls
// that sealing in two parts needs (measured: the two cross near this size).
constexpr std::size_t kOneCallBytesMax = 1536;

std::optional<Library> load() noexcept {
  IMB_MGR* manager = ::alloc_mb_mgr(0);
  if (manager == nullptr) return std::nullopt;
  IMB_ARCH arch = IMB_ARCH_NONE;
  ::init_mb_mgr_auto(manager, &arch);
  std::optional<Library> library;
  // IMB_ARCH_NOAESNI is an emulation for tests: slow, and not constant in time.
  const bool has_passed =
      (manager->features & IMB_FEATURE_SELF_TEST) == 0 || (manager->features & IMB_FEATURE_SELF_TEST_PASS) != 0;
  if (::imb_get_errno(manager) == 0 && arch != IMB_ARCH_NONE && arch != IMB_ARCH_NOAESNI && has_passed) {
    library = Library{{manager->gcm128_pre, manager->gcm128_enc, manager->gcm128_dec, manager->gcm128_init,
                       manager->gcm128_enc_update, manager->gcm128_enc_finalize},
                      {manager->gcm256_pre, manager->gcm256_enc, manager->gcm256_dec, manager->gcm256_init,
                       manager->gcm256_enc_update, manager->gcm256_enc_finalize}};
  }
  ::free_mb_mgr(manager);
  return library;
}

const std::optional<Library>& library() noexcept {
  static const std::optional<Library> kLibrary = load();
  return kLibrary;
}

class IpsecMbAead final : public Aead {
 public:
  explicit IpsecMbAead(const GcmFunctions& functions) noexcept : functions_(functions) {}
  ~IpsecMbAead() override { wipe(); }

  bool set_key(ByteView key) noexcept override {
    functions_.pre(key.data(), &key_);
    return true;
  }

  bool seal(const std::uint8_t* nonce, const std::uint8_t* header, ByteView content, std::uint8_t type,
            std::uint8_t* out) noexcept override {
    gcm_context_data context;
    const std::size_t size = content.size() + 1;
    if (content.size() <= kOneCallBytesMax) {
      std::array<std::uint8_t, kOneCallBytesMax + 1> inner;
      if (!content.empty()) std::memcpy(inner.data(), content.data(), content.size());
      inner[content.size()] = type;
      functions_.seal(&key_, &context, out, inner.data(), size, nonce, header, kRecordHeaderBytes, out + size,
                      kTagBytes);
      return true;
    }
    functions_.init(&key_, &context, nonce, header, kRecordHeaderBytes);
    functions_.seal_update(&key_, &context, out, content.data(), content.size());
    functions_.seal_update(&key_, &context, out + content.size(), &type, 1);
    functions_.seal_finalize(&key_, &context, out + size, kTagBytes);
    return true;
  }

  bool open(const std::uint8_t* nonce, const std::uint8_t* header, ByteView sealed,
            std::uint8_t* out) noexcept override {
    gcm_context_data context;
    std::array<std::uint8_t, kTagBytes> tag;
    const std::size_t size = sealed.size() - kTagBytes;
    functions_.open(&key_, &context, out, sealed.data(), size, nonce, header, kRecordHeaderBytes, tag.data(),
                    tag.size());
    std::uint8_t difference = 0;  // constant in time
    for (std::size_t i = 0; i < kTagBytes; ++i)
      difference = static_cast<std::uint8_t>(difference | (tag[i] ^ sealed[size + i]));
    return difference == 0;
  }

  void wipe() noexcept override { secure_wipe(&key_, sizeof(key_)); }

 private:
  alignas(64) gcm_key_data key_;  // the header aligns it only where LINUX is defined; the code relies on it
  const GcmFunctions& functions_;
};

}  // namespace

bool has_ipsec_mb() noexcept { return library().has_value(); }

std::unique_ptr<Aead> make_ipsec_mb_aead(Cipher cipher, ByteView key) {
  if (!library() || cipher == Cipher::ChaCha20Poly1305) return nullptr;
  auto aead = std::make_unique<IpsecMbAead>(cipher == Cipher::Aes128Gcm ? library()->aes128 : library()->aes256);
  if (!aead->set_key(key)) return nullptr;
  return aead;
}

}  // namespace culvert::tls

#else

namespace culvert::tls {

bool has_ipsec_mb() noexcept { return false; }
std::unique_ptr<Aead> make_ipsec_mb_aead(Cipher, ByteView) { return nullptr; }

}  // namespace culvert::tls

#endif
