// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate_list.hpp"

#include "tls/certificate.hpp"

namespace culvert::tls {

Result<std::vector<ListedCertificate>> list_certificates(std::string_view pem) {
  const std::vector<CertificatePtr> certificates = CV_TRY(certificates_from_pem(pem, "text"));
  std::vector<ListedCertificate> listed;
  listed.reserve(certificates.size());
  for (const CertificatePtr& one : certificates) {
    listed.push_back({CV_TRY(to_pem(one.get())), serial_decimal(one.get()),
                      utc_text(unix_seconds(::X509_get0_notBefore(one.get()))),
                      utc_text(unix_seconds(::X509_get0_notAfter(one.get())))});
  }
  return listed;
}

}  // namespace culvert::tls
