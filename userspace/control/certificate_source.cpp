// SPDX-License-Identifier: Apache-2.0
#include "control/certificate_source.hpp"

#include "tls/embedded_ca.hpp"

namespace culvert::control {

void EmbeddedCaSource::request(const SpiffeId& identity, Reply reply) {
  reply(ca_.issue(identity, static_cast<std::int64_t>(lifetime_ms_ / 1'000)));
}

}  // namespace culvert::control
