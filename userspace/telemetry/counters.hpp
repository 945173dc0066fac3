// SPDX-License-Identifier: Apache-2.0
// Counters of one worker. Written by that worker only (relaxed stores), read by the control thread at a scrape.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "telemetry/close_reason.hpp"
#include "telemetry/connection_log.hpp"

namespace culvert::telemetry {

// A counter or gauge with one writer.
class Counter {
 public:
  void add(std::uint64_t amount = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void subtract(std::uint64_t amount = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
  }
  void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// X(field, "metric_name", kind, "help"): kind is counter or gauge; names as Prometheus wants them.
#define CV_WORKER_COUNTERS(X)                                                                                        \
  X(handshakes_client, "culvert_tls_handshakes_client_total", counter, "TLS handshakes completed as client")         \
  X(handshakes_server, "culvert_tls_handshakes_server_total", counter, "TLS handshakes completed as server")         \
  X(handshakes_resumed, "culvert_tls_handshakes_resumed_total", counter, "TLS handshakes that resumed a session")    \
  X(handshakes_failed, "culvert_tls_handshakes_failed_total", counter, "TLS handshakes that failed, either role")    \
  X(handshakes_refused, "culvert_tls_handshakes_refused_total", counter, "connections to 15008 closed by a limit")   \
  X(key_updates, "culvert_tls_key_updates_total", counter, "KeyUpdates sent or received, told as a tunnel ends")     \
  X(tunnels_open, "culvert_tunnels_open", gauge, "TLS connections between agents")                                   \
  X(tunnels_idle, "culvert_tunnels_idle", gauge, "pooled tunnels that wait for their next connection")               \
  X(tunnels_reused, "culvert_tunnels_reused_total", counter, "connections that went over an existing tunnel")        \
  X(streams_retried, "culvert_hbone_streams_retried_total", counter,                                                 \
    "HBONE CONNECTs that a peer did not look at and that were tried elsewhere")                                      \
  X(sessions_failed, "culvert_hbone_sessions_failed_total", counter,                                                 \
    "HBONE tunnels ended for a broken rule or missing SETTINGS")                                                     \
  X(sessions_abused, "culvert_hbone_sessions_abused_total", counter, "HBONE tunnels ended for wasteful frames")      \
  X(syns_held, "culvert_syns_held_total", counter, "connections answered when the far end had answered, or refused") \
  X(syns_unheld, "culvert_syns_unheld_total", counter,                                                               \
    "connections answered at once though capture.answer_syn says after_connect: a limit was reached")                \
  X(policy_held, "culvert_policy_held_total", counter, "inbound connections that waited for policies to be known")   \
  X(policy_dry_run_denied, "culvert_policy_dry_run_denied_total", counter,                                           \
    "inbound connections that policies of a dry run would have denied")                                              \
  X(demands_held, "culvert_on_demand_held_total", counter,                                                           \
    "connections that waited for the control plane to say who an address is")                                        \
  X(buffers_lent_bytes, "culvert_buffers_lent_bytes", gauge, "memory lent to connections with bytes in flight")      \
  X(splice_bytes, "culvert_splice_bytes_total", counter, "bytes moved by splice into kernel TLS")                    \
  X(accept_errors, "culvert_accept_errors_total", counter,                                                           \
    "connections not accepted, for lack of descriptors or memory")                                                   \
  X(log_lines_dropped, "culvert_log_lines_dropped_total", counter,                                                   \
    "access log lines lost because the writer was behind")

struct WorkerCounters {
#define CV_X(field, name, kind, help) Counter field;
  CV_WORKER_COUNTERS(CV_X)
#undef CV_X
  Counter busy_wait_ns;  // told in seconds
  // By direction: closed with each reason, and live. What Istio's metrics count beside these is in TrafficTable.
  std::array<std::array<Counter, kCloseReasons>, 2> closed;
  std::array<Counter, 2> live;
  // Likewise: peers refused or closed for revocation, and connections of which it cannot be told later.
  std::array<Counter, 2> crl_rejections;
  std::array<Counter, 2> crl_untracked;
};

}  // namespace culvert::telemetry
