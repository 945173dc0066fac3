// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate.hpp"

#include <ctime>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

namespace culvert::tls {
namespace {

BioPtr reader_of(std::string_view text) {
  return BioPtr(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<std::string> contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  if (size <= 0) return fail(ErrorCode::InvalidArgument, "cannot write PEM: {}", take_openssl_error());
  return std::string(data, static_cast<std::size_t>(size));
}

// No terminal is ever asked for a passphrase.
int no_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

Result<std::vector<CertificatePtr>> certificates_from_pem(std::string_view pem, std::string_view what) {
  const BioPtr bio = reader_of(pem);
  std::vector<CertificatePtr> certificates;
  ::ERR_clear_error();
  while (X509* certificate = ::PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const unsigned long code = ::ERR_peek_last_error();
  const bool is_at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  if (!is_at_end) {
    return fail(ErrorCode::InvalidArgument, "the {} is damaged after {} certificate(s): {}", what, certificates.size(),
                take_openssl_error());
  }
  ::ERR_clear_error();
  if (certificates.empty()) return fail(ErrorCode::InvalidArgument, "the {} holds no PEM certificate", what);
  return certificates;
}

Result<KeyPtr> p256_key_from_pem(std::string_view pem) {
  const BioPtr bio = reader_of(pem);
  KeyPtr key(::PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    return fail(ErrorCode::InvalidArgument, "the private key is not an unencrypted PEM key: {}", take_openssl_error());
  }
  char group[64] = "no group";
  std::size_t size = 0;
  const bool is_ec = ::EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_EC;
  if (!is_ec || ::EVP_PKEY_get_group_name(key.get(), group, sizeof(group), &size) != 1 ||
      (std::string_view(group) != "prime256v1" && std::string_view(group) != "P-256")) {
    return fail(ErrorCode::InvalidArgument, "the private key must be ECDSA on P-256, it is {} on {}",
                ::OBJ_nid2sn(::EVP_PKEY_get_base_id(key.get())), group);
  }
  return key;
}

Result<std::string> to_pem(X509* certificate) {
  const BioPtr bio(::BIO_new(::BIO_s_mem()));
  if (::PEM_write_bio_X509(bio.get(), certificate) != 1) {
    return fail(ErrorCode::InvalidArgument, "cannot write a certificate as PEM: {}", take_openssl_error());
  }
  return contents(bio.get());
}

Result<std::string> to_pem(EVP_PKEY* key) {
  const BioPtr bio(::BIO_new(::BIO_s_secmem()));
  if (::PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return fail(ErrorCode::InvalidArgument, "cannot write a private key as PEM: {}", take_openssl_error());
  }
  return contents(bio.get());
}

Result<SpiffeId> spiffe_id_of(X509* certificate) {
  int critical = 0;
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, nullptr)));
  if (!names) {
    return critical == -1
               ? fail(ErrorCode::Protocol, "the certificate has no subject alternative name, a SPIFFE ID is required")
               : fail(ErrorCode::Protocol, "the certificate's subject alternative name cannot be read");
  }
  std::string_view uri;
  int uris = 0;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    if (++uris > 1) {
      return fail(ErrorCode::Protocol, "the certificate has more than one URI name, the first is {:?}", uri);
    }
    uri = {reinterpret_cast<const char*>(::ASN1_STRING_get0_data(name->d.uniformResourceIdentifier)),
           static_cast<std::size_t>(::ASN1_STRING_length(name->d.uniformResourceIdentifier))};
  }
  if (uris == 0) return fail(ErrorCode::Protocol, "the certificate has no URI name, a SPIFFE ID is required");
  return SpiffeId::parse(uri);
}

std::string serial_decimal(X509* certificate) {
  BIGNUM* serial = ::ASN1_INTEGER_to_BN(::X509_get0_serialNumber(certificate), nullptr);
  char* decimal = serial != nullptr ? ::BN_bn2dec(serial) : nullptr;
  std::string text(decimal != nullptr ? decimal : "");
  ::OPENSSL_free(decimal);
  ::BN_free(serial);
  return text;
}

std::int64_t unix_seconds(const ASN1_TIME* time) noexcept {
  std::tm parts{};
  if (time == nullptr || ::ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return ::timegm(&parts);
}

std::string utc_text(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

Result<CertificateInfo> describe(X509* certificate) {
  CertificateInfo info;
  info.identity = CV_TRY(spiffe_id_of(certificate));
  info.serial_decimal = serial_decimal(certificate);
  info.not_before_s = unix_seconds(::X509_get0_notBefore(certificate));
  info.not_after_s = unix_seconds(::X509_get0_notAfter(certificate));
  return info;
}

}  // namespace culvert::tls
