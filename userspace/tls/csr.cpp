// SPDX-License-Identifier: Apache-2.0
#include "tls/csr.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <openssl/pem.h>

#include "base/secret.hpp"
#include "tls/certificate.hpp"
#include "tls/certificate_maker.hpp"
#include "tls/peer_verifier.hpp"

namespace culvert::tls {
namespace {

using RequestPtr = std::unique_ptr<X509_REQ, FreeBy<::X509_REQ_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, FreeBy<::X509_STORE_CTX_free>>;

struct Issued {
  std::vector<CertificatePtr> chain;  // leaf first
  std::vector<CertificatePtr> roots;
};

std::unexpected<Error> library_error(std::string_view what) {
  return fail(ErrorCode::ResourceExhausted, "cannot {}: {}", what, take_openssl_error());
}

void free_extensions(STACK_OF(X509_EXTENSION) * stack) noexcept {
  sk_X509_EXTENSION_pop_free(stack, ::X509_EXTENSION_free);
}

bool add_name(X509_REQ* request, const SpiffeId& identity) {
  X509V3_CTX context;
  ::X509V3_set_ctx(&context, nullptr, nullptr, request, nullptr, 0);
  // An empty subject makes the name critical (RFC 5280 section 4.2.1.6).
  const std::string value = "critical,URI:" + identity.to_string();
  X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, value.c_str());
  if (extension == nullptr) return false;
  const std::unique_ptr<STACK_OF(X509_EXTENSION), FreeBy<free_extensions>> extensions(sk_X509_EXTENSION_new_null());
  if (!extensions || sk_X509_EXTENSION_push(extensions.get(), extension) == 0) {
    ::X509_EXTENSION_free(extension);
    return false;
  }
  return ::X509_REQ_add_extensions(request, extensions.get()) == 1;
}

Result<Issued> read_chain(std::span<const std::string> chain) {
  if (chain.size() < 2) {
    return fail(ErrorCode::Protocol, "the CA answered with {} entries; a certificate and its trust roots are expected",
                chain.size());
  }
  std::size_t bytes = 0;
  for (const std::string& entry : chain) bytes += entry.size();
  if (chain.size() > CertificateRequest::kChainEntriesMax || bytes > CertificateRequest::kChainBytesMax) {
    return fail(ErrorCode::Protocol, "the CA answered with {} entries of {} bytes; {} of {} at most are taken",
                chain.size(), bytes, CertificateRequest::kChainEntriesMax, CertificateRequest::kChainBytesMax);
  }
  Issued issued;
  for (const std::string& entry : chain.first(chain.size() - 1)) {
    for (CertificatePtr& one : CV_TRY(certificates_from_pem(entry, "CA's certificate chain"))) {
      issued.chain.push_back(std::move(one));
    }
  }
  issued.roots = CV_TRY(certificates_from_pem(chain.back(), "CA's list of trust roots"));
  // A root has no place in what is sent to peers.
  while (issued.chain.size() > 1 && std::ranges::any_of(issued.roots, [&](const CertificatePtr& root) {
           return ::X509_cmp(root.get(), issued.chain.back().get()) == 0;
         })) {
    issued.chain.pop_back();
  }
  return issued;
}

Result<void> check_times(const Issued& issued, std::int64_t now_s) {
  for (std::size_t i = 0; i < issued.chain.size(); ++i) {
    const std::int64_t from_s = unix_seconds(::X509_get0_notBefore(issued.chain[i].get()));
    const std::int64_t until_s = unix_seconds(::X509_get0_notAfter(issued.chain[i].get()));
    if (now_s >= from_s && now_s < until_s) continue;
    return fail(ErrorCode::Unavailable,
                "the certificate that the CA issued {}{}: it is valid from {} to {}, now is {}; compare this machine's "
                "clock with the CA's",
                now_s < from_s ? "is not valid yet" : "has expired already",
                i == 0 ? "" : fmt::format(" (its issuer, number {} of the chain)", i), utc_text(from_s),
                utc_text(until_s), utc_text(now_s));
  }
  return {};
}

Result<void> check_signatures(const Issued& issued, std::int64_t now_s) {
  for (std::size_t i = 1; i < issued.chain.size(); ++i) {
    if (::X509_check_issued(issued.chain[i].get(), issued.chain[i - 1].get()) == X509_V_OK) continue;
    return fail(ErrorCode::Protocol,
                "the CA's chain is out of order: certificate {} is not the issuer of the one before it", i);
  }
  const StorePtr store(::X509_STORE_new());
  const StoreContextPtr context(::X509_STORE_CTX_new());
  const std::unique_ptr<STACK_OF(X509), FreeBy<free_certificates>> others(sk_X509_new_null());
  bool is_ok = store && context && others;
  for (const CertificatePtr& root : issued.roots) {
    is_ok = is_ok && ::X509_STORE_add_cert(store.get(), root.get()) == 1;
  }
  for (std::size_t i = 1; is_ok && i < issued.chain.size(); ++i) {
    is_ok = ::X509_up_ref(issued.chain[i].get()) == 1 && sk_X509_push(others.get(), issued.chain[i].get()) > 0;
  }
  is_ok = is_ok && ::X509_STORE_CTX_init(context.get(), store.get(), issued.chain.front().get(), others.get()) == 1 &&
          ::X509_VERIFY_PARAM_set_flags(::X509_STORE_CTX_get0_param(context.get()), X509_V_FLAG_PARTIAL_CHAIN) == 1;
  if (!is_ok) return library_error("check the CA's chain");
  ::X509_VERIFY_PARAM_set_time(::X509_STORE_CTX_get0_param(context.get()), now_s);
  if (::X509_verify_cert(context.get()) == 1) return {};
  const int error = ::X509_STORE_CTX_get_error(context.get());
  static_cast<void>(take_openssl_error());
  return fail(ErrorCode::Protocol, "the certificate that the CA issued does not lead to the roots that it sent: {}",
              ::X509_verify_cert_error_string(error));
}

Result<std::string> to_pem(const std::vector<CertificatePtr>& certificates) {
  std::string text;
  for (const CertificatePtr& one : certificates) text += CV_TRY(tls::to_pem(one.get()));
  return text;
}

}  // namespace

struct CertificateRequest::Key {
  KeyPtr pair;
};

CertificateRequest::CertificateRequest(SpiffeId identity, std::unique_ptr<Key> key, std::string pem)
    : identity_(std::move(identity)), key_(std::move(key)), pem_(std::move(pem)) {}
CertificateRequest::CertificateRequest(CertificateRequest&&) noexcept = default;
CertificateRequest& CertificateRequest::operator=(CertificateRequest&&) noexcept = default;
CertificateRequest::~CertificateRequest() = default;

Result<CertificateRequest> CertificateRequest::make(const SpiffeId& identity) {
  auto key = std::make_unique<Key>();
  key->pair = CV_TRY(make_p256_key());
  const RequestPtr request(::X509_REQ_new());
  if (!request || ::X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      ::X509_REQ_set_pubkey(request.get(), key->pair.get()) != 1 || !add_name(request.get(), identity) ||
      ::X509_REQ_sign(request.get(), key->pair.get(), ::EVP_sha256()) == 0) {
    return library_error("make a certificate signing request");
  }
  const BioPtr bio(::BIO_new(::BIO_s_mem()));
  char* data = nullptr;
  if (!bio || ::PEM_write_bio_X509_REQ(bio.get(), request.get()) != 1) {
    return library_error("write a certificate signing request");
  }
  const long size = BIO_get_mem_data(bio.get(), &data);
  return CertificateRequest(identity, std::move(key), std::string(data, static_cast<std::size_t>(size)));
}

Result<std::shared_ptr<const Credentials>> CertificateRequest::complete(std::span<const std::string> chain,
                                                                        std::int64_t now_s) const {
  const Issued issued = CV_TRY(read_chain(chain));
  X509* leaf = issued.chain.front().get();
  const SpiffeId named = CV_TRY(with_context(spiffe_id_of(leaf), "the certificate that the CA issued"));
  if (named != identity_) {
    return fail(ErrorCode::Protocol, "the CA issued a certificate for {}, asked for was {}", named.to_string(),
                identity_.to_string());
  }
  if (::X509_check_private_key(leaf, key_->pair.get()) != 1) {
    static_cast<void>(take_openssl_error());
    return fail(ErrorCode::Protocol, "the CA issued a certificate for {} with another key than the request's",
                named.to_string());
  }
  if (auto good = check_times(issued, now_s); !good) return std::unexpected(std::move(good).error());
  if (auto good = check_signatures(issued, now_s); !good) return std::unexpected(std::move(good).error());
  for (const bool is_server : {false, true}) {
    if (const std::string fault = usage_fault(leaf, is_server); !fault.empty()) {
      return fail(ErrorCode::Protocol, "the certificate that the CA issued cannot be used: {}", fault);
    }
  }
  std::string key_pem = CV_TRY(tls::to_pem(key_->pair.get()));
  auto credentials = Credentials::from_pem(CV_TRY(to_pem(issued.chain)), key_pem, CV_TRY(to_pem(issued.roots)));
  secure_wipe(key_pem.data(), key_pem.size());
  return credentials;
}

}  // namespace culvert::tls
