// SPDX-License-Identifier: Apache-2.0
// Dumps; see dumps.hpp.
#include "admin/dumps.hpp"

#include <utility>

#include "admin/config_dump.hpp"

namespace culvert::admin {

void Dumps::begin(Reply<HttpResponse> reply) {
  if (!lease_.expired()) {
    return reply(fail(ErrorCode::ResourceExhausted, "another dump is on its way: try again when it has ended"));
  }
  const std::shared_ptr<void> lease = std::make_shared<char>();
  lease_ = lease;
  provider_.connections([&provider = provider_, reply = std::move(reply),
                         lease](Result<std::vector<telemetry::ConnectionLog>> listed) {
    if (!listed) return reply(std::unexpected(std::move(listed).error()));
    HttpResponse response;
    response.content_type = "application/json";
    response.source = std::make_unique<ConfigDump>(provider.begin_dump(), dump_pods(provider.pods(), *listed), lease);
    reply(std::move(response));
  });
}

}  // namespace culvert::admin
