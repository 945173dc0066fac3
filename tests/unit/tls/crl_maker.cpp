// SPDX-License-Identifier: Apache-2.0
#include "crl_maker.hpp"

#include <catch2/catch.hpp>

#include <ctime>

#include <openssl/pem.h>

#include "tls/certificate.hpp"

namespace culvert::tls::test {
namespace {

using CrlPtr = std::unique_ptr<X509_CRL, FreeBy<::X509_CRL_free>>;
using TimePtr = std::unique_ptr<ASN1_TIME, FreeBy<::ASN1_TIME_free>>;

TimePtr in(std::int64_t seconds) { return TimePtr(::ASN1_TIME_set(nullptr, ::time(nullptr) + seconds)); }

void add_revoked(X509_CRL* crl, const std::string& pem) {
  const auto certificates = certificates_from_pem(pem, "revoked certificate");
  REQUIRE(certificates);
  X509_REVOKED* entry = ::X509_REVOKED_new();
  REQUIRE(::X509_REVOKED_set_serialNumber(entry, ::X509_get_serialNumber(certificates->front().get())) == 1);
  REQUIRE(::X509_REVOKED_set_revocationDate(entry, in(-30).get()) == 1);
  REQUIRE(::X509_CRL_add0_revoked(crl, entry) == 1);
}

}  // namespace

std::string make_crl(X509* issuer, EVP_PKEY* key, const CrlOptions& options) {
  const CrlPtr crl(::X509_CRL_new());
  REQUIRE(::X509_CRL_set_version(crl.get(), X509_CRL_VERSION_2) == 1);
  REQUIRE(::X509_CRL_set_issuer_name(crl.get(), ::X509_get_subject_name(issuer)) == 1);
  REQUIRE(::X509_CRL_set1_lastUpdate(crl.get(), in(options.from_s).get()) == 1);
  REQUIRE(::X509_CRL_set1_nextUpdate(crl.get(), in(options.until_s).get()) == 1);
  for (const std::string& pem : options.revoked_pem) add_revoked(crl.get(), pem);
  for (const auto& [nid, value] : options.extensions) {
    X509V3_CTX context;
    ::X509V3_set_ctx(&context, issuer, nullptr, nullptr, crl.get(), 0);
    X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    INFO(value);
    REQUIRE(extension != nullptr);
    REQUIRE(::X509_CRL_add_ext(crl.get(), extension, -1) == 1);
    ::X509_EXTENSION_free(extension);
  }
  REQUIRE(::X509_CRL_sort(crl.get()) == 1);
  REQUIRE(::X509_CRL_sign(crl.get(), key, ::EVP_sha256()) > 0);
  const BioPtr bio(::BIO_new(::BIO_s_mem()));
  REQUIRE(::PEM_write_bio_X509_CRL(bio.get(), crl.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string der_of(const std::string& crl_pem) {
  const BioPtr bio(::BIO_new_mem_buf(crl_pem.data(), static_cast<int>(crl_pem.size())));
  const CrlPtr crl(::PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr));
  unsigned char* data = nullptr;
  const int size = ::i2d_X509_CRL(crl.get(), &data);
  REQUIRE(size > 0);
  std::string der(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  ::OPENSSL_free(data);
  return der;
}

}  // namespace culvert::tls::test
