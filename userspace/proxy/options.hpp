// SPDX-License-Identifier: Apache-2.0
// What a worker is told at its start and, by SetOptions, later. Plain values; times are milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/trust_domains.hpp"
#include "core/slab.hpp"
#include "hbone/session.hpp"
#include "policy/policy.hpp"
#include "telemetry/span_queue.hpp"
#include "tls/engine_plan.hpp"
#include "tls/handshake_socket.hpp"
#include "tls/resumption.hpp"
#include "tls/revocation.hpp"

namespace culvert::proxy {

// Which connections get a span (tracing.hpp).
struct Tracing {
  telemetry::SpanQueue* queue = nullptr;  // null: none; outlives the workers
  std::uint32_t share = 0;                // of telemetry::kSamplingAll, where this agent decides
  bool follows_parent = true;             // the agent that began a connection decides for both
};

struct Options {
  std::uint32_t mark = 0x539;  // of the agent's sockets towards the local application
  std::string cluster = "Kubernetes";
  std::string network;                                                  // of this node
  std::vector<tls::Alpn> alpn = {tls::Alpn::Direct, tls::Alpn::Hbone};  // offered and taken, in order
  hbone::Limits hbone;
  // Asks DNS, from a worker's thread: (worker, name, preferred family, flow). The answer comes back as NameResolved. Null: never.
  std::function<void(std::uint32_t, std::string, int, SlabHandle)> resolve;
  // Has a name of state/demand.hpp asked for, from a worker's thread. The answer comes as a snapshot. Null: every snapshot has all there is.
  std::function<void(std::string)> demand;
  std::uint64_t demand_timeout_ms = 5'000;  // how long a connection waits for that
  // Both tunnels offered: so many direct ones are in use to one destination, per worker, before further flows share HBONE tunnels. 0: no sharing.
  std::uint32_t direct_per_peer_max = 16;
  std::uint32_t hbone_connections_per_peer = 4;  // a busy peer is given up to so many before one is filled up
  bool hbone_early_data = true;                  // the first bytes leave with CONNECT, before its answer
  bool hbone_response_baggage = true;  // what a 200 says of the destination and, in metrics, a CONNECT of its source
  tls::EnginePlan engines;
  tls::SpliceChoice splice = tls::SpliceChoice::Auto;
  std::uint64_t connect_timeout_ms = 10'000;
  bool answers_after_connect = false;  // an application's SYN, when the far end has answered
  std::uint64_t handshake_timeout_ms = 10'000;
  std::uint32_t client_handshakes_max = 64;  // under way at once, per worker; further connections wait their turn
  std::uint32_t server_handshakes_max =
      1024;  // under way at once, per worker (handshake_places.hpp); further ones: RST
  std::uint32_t server_handshakes_per_peer_s = 2000;  // new tunnels per source address and second, and burst
  std::uint64_t pool_idle_timeout_ms = 60'000;
  std::uint32_t pool_idle_max = 256;  // idle tunnels to one destination, per worker
  std::uint64_t busy_wait_ns = 0;  // the longest look for events before a worker sleeps (core/busy_wait.hpp); 0: none
  std::size_t buffer_bytes_max = std::size_t{64} << 20U;
  std::uint32_t connections_max = 65'536;  // flows of one worker
  // Descriptors of connections are below it; the rest is for whoever controls the agent, and for the control plane.
  int descriptors_end = std::numeric_limits<int>::max();
  policy::UnknownAnswer policy_unknown = policy::UnknownAnswer::Hold;
  std::uint64_t policy_hold_ms = 5'000;
  bool logs_policy_matches = false;  // at level info and not debug
  Tracing tracing;
  // Shared by the workers; null: full handshakes only. They outlive the workers.
  tls::ResumptionStore* resumption_store = nullptr;
  tls::ResumptionIssuer* resumption_issuer = nullptr;
  tls::Revocation* revocation = nullptr;        // null: no certificate is taken back
  const TrustDomains* trust_domains = nullptr;  // null: the local trust domain has no alias
};

}  // namespace culvert::proxy
