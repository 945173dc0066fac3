// SPDX-License-Identifier: Apache-2.0
#include "tls/credentials.hpp"

#include "tls/certificate.hpp"
#include "tls/credential_contexts.hpp"

namespace culvert::tls {

Credentials::Credentials(CertificateInfo info, std::string chain_pem, std::string roots_pem,
                         std::unique_ptr<Contexts> contexts)
    : info_(std::move(info)),
      chain_pem_(std::move(chain_pem)),
      roots_pem_(std::move(roots_pem)),
      contexts_(std::move(contexts)) {}

Credentials::~Credentials() = default;

Result<std::shared_ptr<const Credentials>> Credentials::from_pem(std::string_view chain_pem, std::string_view key_pem,
                                                                 std::string_view roots_pem) {
  const auto chain = CV_TRY(certificates_from_pem(chain_pem, "certificate chain"));
  const KeyPtr key = CV_TRY(p256_key_from_pem(key_pem));
  const auto roots = CV_TRY(certificates_from_pem(roots_pem, "list of trust roots"));
  CertificateInfo info = CV_TRY(describe(chain.front().get()));
  if (::X509_check_private_key(chain.front().get(), key.get()) != 1) {
    static_cast<void>(take_openssl_error());
    return fail(ErrorCode::InvalidArgument, "the private key does not belong to the certificate of {}, serial {}",
                info.identity.to_string(), info.serial_decimal);
  }
  auto contexts = CV_TRY(make_contexts(chain, key.get(), roots));
  return std::shared_ptr<const Credentials>(
      new Credentials(std::move(info), std::string(chain_pem), std::string(roots_pem), std::move(contexts)));
}

}  // namespace culvert::tls
