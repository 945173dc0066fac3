// SPDX-License-Identifier: Apache-2.0
#include "tls/peer_verifier.hpp"

#include <algorithm>
#include <cstring>

#include "tls/certificate.hpp"

namespace culvert::tls {
namespace {

// SHA-256 over the role, the roots and every certificate of the chain as it was sent.
bool digest_of(X509_STORE_CTX* context, bool is_server_certificate, const std::array<std::uint8_t, 32>& roots_digest,
               VerifiedPeers::Digest& out) noexcept {
  EVP_MD_CTX* digest = ::EVP_MD_CTX_new();
  const std::uint8_t role = is_server_certificate ? 1 : 0;
  bool is_ok = digest != nullptr && ::EVP_DigestInit_ex(digest, ::EVP_sha256(), nullptr) == 1 &&
               ::EVP_DigestUpdate(digest, &role, sizeof(role)) == 1 &&
               ::EVP_DigestUpdate(digest, roots_digest.data(), roots_digest.size()) == 1;
  const auto add = [&](X509* certificate) {
    std::array<std::uint8_t, 32> one;
    is_ok = is_ok && ::X509_digest(certificate, ::EVP_sha256(), one.data(), nullptr) == 1 &&
            ::EVP_DigestUpdate(digest, one.data(), one.size()) == 1;
  };
  add(::X509_STORE_CTX_get0_cert(context));
  const STACK_OF(X509)* others = ::X509_STORE_CTX_get0_untrusted(context);
  for (int i = 0; i < sk_X509_num(others); ++i) add(sk_X509_value(others, i));
  is_ok = is_ok && ::EVP_DigestFinal_ex(digest, out.data(), nullptr) == 1;
  ::EVP_MD_CTX_free(digest);
  return is_ok;
}

// Who the certificate says it is, for a message about why it was refused.
std::string claimed(X509* certificate) {
  if (certificate == nullptr) return "the peer";
  if (auto info = describe(certificate)) {
    return fmt::format("{} (serial {})", info->identity.to_string(), info->serial_decimal);
  }
  char subject[256] = "";
  ::X509_NAME_oneline(::X509_get_subject_name(certificate), subject, sizeof(subject));
  return fmt::format("subject {}", subject);
}

Refusal chain_refusal(X509_STORE_CTX* context, X509* leaf, std::int64_t now_s) {
  Refusal refusal;
  refusal.x509_error = ::X509_STORE_CTX_get_error(context);
  X509* certificate = ::X509_STORE_CTX_get_current_cert(context);
  const int depth = ::X509_STORE_CTX_get_error_depth(context);
  std::string times;
  if (certificate != nullptr &&
      (refusal.x509_error == X509_V_ERR_CERT_NOT_YET_VALID || refusal.x509_error == X509_V_ERR_CERT_HAS_EXPIRED)) {
    times = fmt::format("; it is valid from {} to {}, now is {}",
                        utc_text(unix_seconds(::X509_get0_notBefore(certificate))),
                        utc_text(unix_seconds(::X509_get0_notAfter(certificate))), utc_text(now_s));
  }
  refusal.detail =
      fmt::format("certificate of {}: {}{}{}", claimed(leaf), ::X509_verify_cert_error_string(refusal.x509_error),
                  depth > 0 ? fmt::format(" (issuer at depth {})", depth) : "", times);
  static_cast<void>(take_openssl_error());
  return refusal;
}

}  // namespace

std::string usage_fault(X509* leaf, bool is_server_certificate) {
  const std::uint32_t flags = ::X509_get_extension_flags(leaf);
  if ((flags & EXFLAG_INVALID) != 0) return "its extensions cannot be read";
  if ((flags & EXFLAG_CA) != 0) return "it is a CA certificate";
  if ((flags & EXFLAG_KUSAGE) == 0 || (::X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0) {
    return "its key usage lacks digitalSignature";
  }
  if ((::X509_get_key_usage(leaf) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0) return "its key usage is that of a CA";
  const std::uint32_t wanted = is_server_certificate ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
  if ((flags & EXFLAG_XKUSAGE) != 0 && (::X509_get_extended_key_usage(leaf) & (wanted | XKU_ANYEKU)) == 0) {
    return is_server_certificate ? "its extended key usage lacks serverAuth"
                                 : "its extended key usage lacks clientAuth";
  }
  return {};
}

std::size_t VerifiedPeers::Hash::operator()(const Digest& digest) const noexcept {
  std::size_t value = 0;
  std::memcpy(&value, digest.data(), sizeof(value));
  return value;
}

const VerifiedPeer* VerifiedPeers::find(const Digest& digest, std::int64_t now_s) noexcept {
  const auto found = entries_.find(digest);
  if (found == entries_.end()) return nullptr;
  // Also after a clock that was set back: what was good for five minutes is good for no longer than that.
  if (now_s >= found->second.good_until_s || now_s + kLifetimeS < found->second.good_until_s) {
    entries_.erase(found);
    return nullptr;
  }
  return &found->second.peer;
}

void VerifiedPeers::remember(const Digest& digest, VerifiedPeer peer, std::int64_t now_s) {
  if (entries_.size() >= kEntriesMax) entries_.clear();
  const std::int64_t good_until_s = std::min(now_s + kLifetimeS, peer.not_after_s);
  entries_.insert_or_assign(digest, Entry{std::move(peer), good_until_s});
}

std::expected<VerifiedPeer, Refusal> verify_peer(X509_STORE_CTX* context, bool is_server_certificate,
                                                 const std::array<std::uint8_t, 32>& roots_digest, VerifiedPeers& known,
                                                 std::int64_t now_s, Revocation* revocation) {
  X509* leaf = ::X509_STORE_CTX_get0_cert(context);
  VerifiedPeers::Digest digest;
  const bool has_digest = digest_of(context, is_server_certificate, roots_digest, digest);
  if (has_digest) {
    if (const VerifiedPeer* peer = known.find(digest, now_s)) {
      ::X509_STORE_CTX_set_error(context, X509_V_OK);
      return *peer;
    }
  }
  // Our own look first: its words are plainer than "unsuitable certificate purpose".
  if (const std::string fault = usage_fault(leaf, is_server_certificate); !fault.empty()) {
    return std::unexpected(
        Refusal{false, X509_V_ERR_INVALID_PURPOSE, fmt::format("certificate of {}: {}", claimed(leaf), fault)});
  }
  if (::X509_verify_cert(context) != 1) return std::unexpected(chain_refusal(context, leaf, now_s));

  auto identity = spiffe_id_of(leaf);
  if (!identity) return std::unexpected(Refusal{true, X509_V_ERR_APPLICATION_VERIFICATION, identity.error().message()});
  VerifiedPeer peer;
  peer.identity = std::move(*identity);
  peer.not_after_s = unix_seconds(::X509_get0_notAfter(leaf));
  const STACK_OF(X509)* chain = ::X509_STORE_CTX_get0_chain(context);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    peer.not_after_s = std::min(peer.not_after_s, unix_seconds(::X509_get0_notAfter(sk_X509_value(chain, i))));
  }
  if (revocation != nullptr) peer.chain = revocation->track(chain);
  if (has_digest) known.remember(digest, peer, now_s);
  return peer;
}

}  // namespace culvert::tls
