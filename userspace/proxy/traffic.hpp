// SPDX-License-Identifier: Apache-2.0
// A flow and Istio's traffic metrics: which labels it is counted under, when it counts as opened, and what is counted at its end. One worker.
//
// A flow has labels as soon as it is known who its two ends are. Outbound: before anything is connected, so that what fails counts as opened,
// closed and failed; where the far end is told by the answer (another network), then. Inbound: once what it asks for makes sense and before policy
// is asked; what does not make sense is in culvert_connections_closed_total alone.
#pragma once

#include <string_view>

#include "hbone/messages.hpp"
#include "proxy/worker_state.hpp"
#include "state/route.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::proxy {

// `route` is the worker's decision for this flow; a later one replaces it.
void label_outbound(WorkerState& state, Flow& flow, const WorkerPod& pod, const state::Route& route);
// The far end in another network has answered: it says who it is.
void label_far_end(WorkerState& state, Flow& flow, const hbone::Baggage& baggage);
// `baggage` and `forwarded` as the peer sent them; empty without a tunnel.
void label_inbound(WorkerState& state, Flow& flow, const WorkerPod& pod, std::string_view baggage,
                   std::string_view forwarded);

// Only the first call counts; true for that one.
bool count_opened(Flow& flow) noexcept;
void count_closed(WorkerState& state, Flow& flow, telemetry::CloseReason reason) noexcept;
inline void count_bytes(Flow& flow, bool is_client_to_server, std::size_t bytes) noexcept {
  (is_client_to_server ? flow.received_bytes : flow.sent_bytes) += bytes;
  if (!flow.is_counted) return;  // told when it opens
  (is_client_to_server ? flow.traffic->received_bytes : flow.traffic->sent_bytes).add(bytes);
}
// A flow of this pod waits for DNS.
void count_name_lookup(WorkerState& state, const WorkerPod& pod, std::string_view hostname);

}  // namespace culvert::proxy
