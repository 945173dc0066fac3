// SPDX-License-Identifier: Apache-2.0
#include "tls/openssl.hpp"

#include <openssl/err.h>

namespace culvert::tls {

std::string take_openssl_error() {
  const unsigned long code = ::ERR_peek_last_error();
  ::ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* reason = ::ERR_reason_error_string(code);
  if (reason != nullptr) return reason;
  char text[128];
  ::ERR_error_string_n(code, text, sizeof(text));
  return text;
}

}  // namespace culvert::tls
