// SPDX-License-Identifier: Apache-2.0
// Self-signed credentials with any validity, for tests of what reads no more than identity, serial and times.
#pragma once

#include <cstdint>
#include <memory>

#include "base/spiffe_id.hpp"
#include "tls/credentials.hpp"

namespace culvert::test {

[[nodiscard]] std::shared_ptr<const tls::Credentials> make_credentials(const SpiffeId& identity,
                                                                       std::int64_t not_before_s,
                                                                       std::int64_t not_after_s);

}  // namespace culvert::test
