// SPDX-License-Identifier: Apache-2.0
// TrafficKeys: one direction's secret, record key, IV and sequence number (RFC 8446 sections 5.3 and 7.3). Plain and small:
// this is what would be handed to another process to carry the connection on.
#pragma once

#include <cstdint>

#include "base/secret.hpp"
#include "tls/cipher.hpp"

namespace culvert::tls {

struct TrafficKeys {
  Secret<48> secret;  // the application traffic secret, 32 or 48 bytes
  Secret<32> key;     // 16 or 32 bytes
  Secret<12> iv;
  std::uint64_t sequence = 0;  // of the next record
};

}  // namespace culvert::tls
