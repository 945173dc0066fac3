// SPDX-License-Identifier: Apache-2.0
// The places where OpenSSL calls us during a handshake: certificate verification, choice of ALPN, key log. They find the
// handshake (handshake_state.hpp) in the SSL object's application data.
#pragma once

#include "tls/openssl.hpp"

namespace culvert::tls {

void install_handshake_callbacks(SSL_CTX* context, bool is_server) noexcept;

}  // namespace culvert::tls
