// SPDX-License-Identifier: Apache-2.0
// Finisher: every flow ends here, once, with one CloseReason: sockets closed in the right manner, counters, access log. What is counted and
// logged when a flow is opened is said here too.
#pragma once

#include <string_view>

#include "proxy/worker_state.hpp"
#include "telemetry/connection_log.hpp"

namespace culvert::proxy {

class Finisher {
 public:
  explicit Finisher(WorkerState& state) noexcept : state_(state) {}

  // It is known where the flow goes and who its ends are (traffic.hpp says when): counts it as opened and, at level debug, logs that. Only the
  // first call of a flow does something.
  void opened(Flow& flow);
  // Both directions were finished in order: what is queued in the kernel is delivered, then FIN.
  void complete(Flow& flow);
  // Anything else: the plain sockets are reset, so that no application takes a torn stream for a whole one. An attached
  // tunnel is told (RESET, when `reason` is one that the far application shall see) and closed.
  void abort(Flow& flow, telemetry::CloseReason reason, std::string_view detail = {});
  // A row for the access log or for a listing.
  [[nodiscard]] telemetry::ConnectionLog describe(Flow& flow);

 private:
  void end(Flow& flow, telemetry::CloseReason reason, std::string_view detail);

  WorkerState& state_;
};

}  // namespace culvert::proxy
