// SPDX-License-Identifier: Apache-2.0
// Owners of OpenSSL objects, and its error queue as text. Private to this module.
#pragma once

#include <memory>
#include <string>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace culvert::tls {

template <auto Free>
struct FreeBy {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
inline void free_certificates(STACK_OF(X509) * stack) noexcept { sk_X509_pop_free(stack, ::X509_free); }

using BioPtr = std::unique_ptr<BIO, FreeBy<::BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeBy<::EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, FreeBy<::X509_free>>;
using CertificateStack = std::unique_ptr<STACK_OF(X509), FreeBy<free_certificates>>;
using StorePtr = std::unique_ptr<X509_STORE, FreeBy<::X509_STORE_free>>;
using ContextPtr = std::unique_ptr<SSL_CTX, FreeBy<::SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, FreeBy<::SSL_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, FreeBy<::GENERAL_NAMES_free>>;

// The newest entry of the error queue, and empties the queue. "unknown error" when there is none.
[[nodiscard]] std::string take_openssl_error();

}  // namespace culvert::tls
