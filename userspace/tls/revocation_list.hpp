// SPDX-License-Identifier: Apache-2.0
// One certificate revocation list (RFC 5280 section 5), read and asked. Private to this module; an object is one thread's at a time, except
// that `has_serial` and `is_signed_by` may be called by several.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tls/openssl.hpp"
#include "tls/revocation.hpp"

namespace culvert::tls {

using CrlPtr = std::unique_ptr<X509_CRL, FreeBy<::X509_CRL_free>>;

struct RevocationList {
  CrlPtr crl;
  Revocation::ListInfo info;
  bool is_complete = true;  // it speaks of every certificate and every reason
};

// See Revocation::load.
[[nodiscard]] Result<std::vector<RevocationList>> revocation_lists_from(std::string_view text);
// Its issuer has this name, this key has signed it, and the certificate lets the key sign lists (RFC 5280 section 6.3.3 (f)).
[[nodiscard]] bool is_signed_by(const RevocationList& list, X509* issuer) noexcept;
// `serial`: DER.
[[nodiscard]] bool has_serial(const RevocationList& list, std::span<const std::uint8_t> serial) noexcept;

}  // namespace culvert::tls
