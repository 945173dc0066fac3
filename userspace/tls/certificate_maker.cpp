// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate_maker.hpp"

#include <array>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/rand.h>

namespace culvert::tls {
namespace {

std::unexpected<Error> library_error(std::string_view what) {
  return fail(ErrorCode::ResourceExhausted, "cannot {}: {}", what, take_openssl_error());
}

// Version 3's rule: positive, at most 20 octets; 127 random bits cannot be guessed or repeated.
bool set_random_serial(X509* certificate) {
  BIGNUM* number = ::BN_new();
  const bool is_ok = number != nullptr && ::BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                     ::BN_to_ASN1_INTEGER(number, ::X509_get_serialNumber(certificate)) != nullptr;
  ::BN_free(number);
  return is_ok;
}

}  // namespace

Result<KeyPtr> make_p256_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return library_error("make a P-256 key");
  return key;
}

Result<CertificatePtr> make_certificate(const CertificateTemplate& wanted, EVP_PKEY* key, X509* issuer,
                                        EVP_PKEY* issuer_key) {
  CertificatePtr certificate(::X509_new());
  X509* made = certificate.get();
  X509* signer = issuer != nullptr ? issuer : made;
  bool is_ok = made != nullptr && ::X509_set_version(made, X509_VERSION_3) == 1 && set_random_serial(made) &&
               ::ASN1_TIME_set(::X509_getm_notBefore(made), wanted.not_before_s) != nullptr &&
               ::ASN1_TIME_set(::X509_getm_notAfter(made), wanted.not_after_s) != nullptr &&
               ::X509_set_pubkey(made, key) == 1;
  if (is_ok && !wanted.common_name.empty()) {
    is_ok = ::X509_NAME_add_entry_by_NID(::X509_get_subject_name(made), NID_commonName, MBSTRING_UTF8,
                                         reinterpret_cast<const unsigned char*>(wanted.common_name.data()),
                                         static_cast<int>(wanted.common_name.size()), -1, 0) == 1;
  }
  is_ok = is_ok && ::X509_set_issuer_name(made, ::X509_get_subject_name(signer)) == 1;
  if (!is_ok) return library_error("make a certificate");

  X509V3_CTX context;
  ::X509V3_set_ctx(&context, signer, made, nullptr, nullptr, 0);
  for (const auto& [nid, value] : wanted.extensions) {
    X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    is_ok = extension != nullptr && ::X509_add_ext(made, extension, -1) == 1;
    ::X509_EXTENSION_free(extension);
    if (!is_ok) return library_error(fmt::format("add extension {} = {}", ::OBJ_nid2sn(nid), value));
  }
  if (::X509_sign(made, issuer_key, ::EVP_sha256()) == 0) return library_error("sign a certificate");
  return certificate;
}

}  // namespace culvert::tls
