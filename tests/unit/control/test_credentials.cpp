// SPDX-License-Identifier: Apache-2.0
#include "test_credentials.hpp"

#include <openssl/x509v3.h>

#include "tls/certificate.hpp"
#include "tls/certificate_maker.hpp"

namespace culvert::test {

std::shared_ptr<const tls::Credentials> make_credentials(const SpiffeId& identity, std::int64_t not_before_s,
                                                         std::int64_t not_after_s) {
  tls::KeyPtr key = tls::make_p256_key().value();
  tls::CertificateTemplate wanted;
  wanted.not_before_s = not_before_s;
  wanted.not_after_s = not_after_s;
  wanted.extensions = {{NID_key_usage, "critical,digitalSignature"},
                       {NID_ext_key_usage, "serverAuth,clientAuth"},
                       {NID_subject_alt_name, "critical,URI:" + identity.to_string()}};
  const tls::CertificatePtr certificate = tls::make_certificate(wanted, key.get(), nullptr, key.get()).value();
  const std::string pem = tls::to_pem(certificate.get()).value();
  return tls::Credentials::from_pem(pem, tls::to_pem(key.get()).value(), pem).value();
}

}  // namespace culvert::test
