// SPDX-License-Identifier: Apache-2.0
// Dumps: begins a /config_dump when asked, one at a time, for the local port and for culvertctl. Control thread.
#pragma once

#include <memory>

#include "admin/http_server.hpp"
#include "admin/provider.hpp"

namespace culvert::admin {

class Dumps {
 public:
  // `provider` outlives what was begun.
  explicit Dumps(Provider& provider) : provider_(provider) {}

  // Asks the workers for their connections; then `reply` gets an answer that makes itself as it is taken, or ErrorCode::ResourceExhausted
  // while another one has not ended.
  void begin(Reply<HttpResponse> reply);

 private:
  Provider& provider_;
  std::weak_ptr<void> lease_;  // held by the dump that is on its way
};

}  // namespace culvert::admin
