// SPDX-License-Identifier: Apache-2.0
#include "tls/credential_contexts.hpp"

#include <openssl/err.h>

#include "tls/handshake_callbacks.hpp"

namespace culvert::tls {
namespace {

constexpr const char* kCiphers = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256";
// ECDSA on P-256 is what Culvert has; the rest is for other meshes' certificates and their issuers.
constexpr const char* kSignatures =
    "ECDSA+SHA256:RSA-PSS+SHA256:ECDSA+SHA384:ed25519:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512";
constexpr int kChainDepthMax = 8;

Result<ContextPtr> make_context(bool is_server, const std::vector<CertificatePtr>& chain, EVP_PKEY* key,
                                X509_STORE* roots) {
  ContextPtr context(::SSL_CTX_new(is_server ? ::TLS_server_method() : ::TLS_client_method()));
  if (!context) return fail(ErrorCode::ResourceExhausted, "cannot make a TLS context: {}", take_openssl_error());
  SSL_CTX* ctx = context.get();
  bool is_ok = SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
               SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1 &&
               ::SSL_CTX_set_ciphersuites(ctx, kCiphers) == 1 && SSL_CTX_set1_groups_list(ctx, kGroups) == 1 &&
               SSL_CTX_set1_sigalgs_list(ctx, kSignatures) == 1 && ::SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
               ::SSL_CTX_use_certificate(ctx, chain.front().get()) == 1 && ::SSL_CTX_check_private_key(ctx) == 1;
  for (std::size_t i = 1; is_ok && i < chain.size(); ++i) is_ok = SSL_CTX_add1_chain_cert(ctx, chain[i].get()) == 1;
  // The port carries nothing but this, so there are no middleboxes to please with change_cipher_spec records.
  ::SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
  ::SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  is_ok = is_ok && ::SSL_CTX_set_num_tickets(ctx, 0) == 1 && SSL_CTX_set1_verify_cert_store(ctx, roots) == 1;
  // Trust anchors need not be self-signed: an intermediate may be one.
  is_ok = is_ok && ::X509_VERIFY_PARAM_set_flags(::SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN) == 1;
  ::SSL_CTX_set_verify_depth(ctx, kChainDepthMax);
  ::SSL_CTX_set_quiet_shutdown(ctx, 1);
  // OpenSSL resumes nothing on a server that names no context; what a ticket is good for is resumption.hpp's to say.
  static constexpr unsigned char kSessionContext[] = "culvert";
  is_ok =
      is_ok && (!is_server || ::SSL_CTX_set_session_id_context(ctx, kSessionContext, sizeof(kSessionContext) - 1) == 1);
  install_handshake_callbacks(ctx, is_server);
  if (!is_ok) {
    return fail(ErrorCode::InvalidArgument, "the certificate, its key and OpenSSL do not agree: {}",
                take_openssl_error());
  }
  return context;
}

}  // namespace

Result<std::unique_ptr<Credentials::Contexts>> make_contexts(const std::vector<CertificatePtr>& chain, EVP_PKEY* key,
                                                             const std::vector<CertificatePtr>& roots) {
  const StorePtr store(::X509_STORE_new());
  auto contexts = std::make_unique<Credentials::Contexts>();
  EVP_MD_CTX* digest = ::EVP_MD_CTX_new();
  bool is_ok = store && digest != nullptr && ::EVP_DigestInit_ex(digest, ::EVP_sha256(), nullptr) == 1;
  for (std::size_t i = 0; is_ok && i < roots.size(); ++i) {
    std::array<std::uint8_t, 32> one;
    is_ok = ::X509_STORE_add_cert(store.get(), roots[i].get()) == 1 &&
            ::X509_digest(roots[i].get(), ::EVP_sha256(), one.data(), nullptr) == 1 &&
            ::EVP_DigestUpdate(digest, one.data(), one.size()) == 1;
  }
  is_ok = is_ok && ::EVP_DigestFinal_ex(digest, contexts->roots_digest.data(), nullptr) == 1;
  ::EVP_MD_CTX_free(digest);
  if (!is_ok) return fail(ErrorCode::InvalidArgument, "cannot use the trust roots: {}", take_openssl_error());
  contexts->client = CV_TRY(make_context(false, chain, key, store.get()));
  contexts->server = CV_TRY(make_context(true, chain, key, store.get()));
  return contexts;
}

}  // namespace culvert::tls
