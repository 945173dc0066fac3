// SPDX-License-Identifier: Apache-2.0
// Provider: what the admin server asks of the agent. The app implements it; every call is made on the control thread and is
// answered on it. What only the workers know is answered through `Reply`, at once or later. Plain values, no secrets: a
// private key never passes here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "admin/dump_source.hpp"
#include "base/address.hpp"
#include "base/answer_syn.hpp"
#include "base/result.hpp"
#include "telemetry/connection_log.hpp"
#include "telemetry/exposition.hpp"
#include "telemetry/log.hpp"
#include "telemetry/pod_counters.hpp"

namespace culvert::admin {

// Which engine the node's plan chose for one cipher, as words ("kernel", "user-ipsec-mb", "user-evp").
struct CipherEngines {
  std::string cipher;
  std::string tx;
  std::string rx;
};

// One certificate revocation list.
struct RevocationList {
  std::string issuer;  // its name
  std::uint64_t entries = 0;
  std::int64_t this_update_s = 0;  // Unix seconds
  std::int64_t next_update_s = 0;  // 0: it does not say
  std::string state;               // "in force", "expired", "not signed by a known issuer"
};
struct Revocation {
  std::string path;  // empty: off
  bool fails_closed = false;
  std::string error;  // why the file as it is now was not taken over
  std::vector<RevocationList> lists;
};

struct Status {
  std::string version;
  std::string node;
  std::string cluster;
  std::string network;
  std::string trust_domain;
  std::string config_path;
  std::string state;           // "starting", "ready", "draining"
  std::uint64_t start_us = 0;  // wall clock, microseconds since the epoch
  std::uint32_t process_id = 0;
  std::uint32_t workers = 0;
  std::uint64_t snapshot_version = 0;
  std::uint64_t pods = 0;
  std::uint64_t workloads = 0;
  std::uint64_t connections_inbound = 0;   // live
  std::uint64_t connections_outbound = 0;  // live
  std::uint64_t tunnels_open = 0;
  std::uint64_t tunnels_idle = 0;
  std::string steering;    // "connect-hook" or "tc-redirect"
  std::string attachment;  // "tcx", "clsact" or "none"
  std::uint32_t lo_segment_bytes_v4 = 0;
  std::uint32_t lo_segment_bytes_v6 = 0;
  std::vector<CipherEngines> engines;
  Revocation revocation;
  std::vector<std::string> notes;  // one sentence for each thing that is degraded: what, why, remedy
};

struct Pod {
  std::string id;
  std::string name;
  std::string namespace_name;
  std::string service_account;
  std::string identity;  // SPIFFE URI
  std::string netns_path;
  std::vector<IpAddress> addresses;
  std::uint32_t slot = 0;
  std::string state;   // "joined", "leaving", "failed"
  std::string detail;  // why it failed, else empty
};

struct Workload {
  std::string uid{};
  std::string name{};
  std::string namespace_name{};
  std::string identity{};  // SPIFFE URI
  std::string node{};
  std::string network{};
  std::string cluster{};
  std::string protocol{};   // "TCP", "HBONE"
  std::string peer_auth{};  // "PERMISSIVE", "STRICT"
  std::vector<IpAddress> addresses{};
  std::string hostname{};  // empty: none
  std::string waypoint{};  // as the configuration writes it; empty: none
  std::string health{};    // "HEALTHY", "UNHEALTHY"
};

struct ServicePort {
  std::uint16_t port = 0;
  std::uint16_t target_port = 0;  // 0: each endpoint says it
};

struct ServiceEndpoint {
  std::string workload{};  // uid
  std::string state{};     // "usable", "unhealthy", "unknown" (its workload is not known yet)
};

struct Service {
  std::string name{};
  std::string namespace_name{};
  std::string hostname{};
  std::vector<std::string> addresses{};  // "ADDRESS", or "NETWORK/ADDRESS" of another network
  std::vector<ServicePort> ports{};
  std::vector<ServiceEndpoint> endpoints{};
  std::string waypoint{};    // as the configuration writes it; empty: none
  std::string mode{};        // of load balancing: "UNSPECIFIED", "STRICT", "FAILOVER", "PASSTHROUGH"
  std::string visibility{};  // "PUBLIC", "NAMESPACE"
};

struct Certificate {
  std::string identity;  // SPIFFE URI
  std::string state;     // "available", "initializing", "unavailable: WHY"
  std::string serial_decimal;
  std::int64_t not_before_s = 0;  // Unix seconds
  std::int64_t not_after_s = 0;
  std::int64_t rotates_at_s = 0;  // when the next one is asked for; 0: unknown
};

// What would happen to a connection, as policy::Explanation says it.
struct ExplainStep {
  std::string what;
  std::string result;  // "ok", "no", "note"
  std::string text;
  std::string decided_by;  // empty: nobody in particular
};
struct Explanation {
  std::string outcome;
  std::vector<ExplainStep> steps;
};

// A request to enrol a running namespace. The agent opens `netns_path` itself.
struct JoinRequest {
  std::string id;  // empty: the last part of netns_path
  std::string name;
  std::string namespace_name;
  std::string service_account;
  std::string netns_path;               // absolute
  std::vector<IpAddress> addresses;     // empty: taken from the namespace's devices
  std::optional<AnswerSyn> answer_syn;  // nothing: as the node
};

// Called exactly once, on the control thread, inside the call or later. Calling it after the server is gone is harmless.
template <typename T>
using Reply = std::function<void(Result<T>)>;

class Provider {
 public:
  virtual ~Provider() = default;

  [[nodiscard]] virtual Status status() const = 0;
  [[nodiscard]] virtual std::vector<Pod> pods() const = 0;
  [[nodiscard]] virtual std::vector<Workload> workloads() const = 0;
  [[nodiscard]] virtual std::vector<Service> services() const = 0;
  [[nodiscard]] virtual std::vector<Certificate> certificates() const = 0;
  // Every decision and drop of the capture programs, by pod.
  [[nodiscard]] virtual std::vector<telemetry::PodCounters> drops() const = 0;
  // `source`: a pod's id, or what policy::explain takes; `destination`: likewise.
  [[nodiscard]] virtual Result<Explanation> explain(const std::string& source,
                                                    const std::string& destination) const = 0;
  // The live connections of every worker; the server answers 504 when it has waited kReplyTimeoutMs.
  virtual void connections(Reply<std::vector<telemetry::ConnectionLog>> reply) = 0;

  virtual void join(JoinRequest request, Reply<Pod> reply) = 0;
  // ErrorCode::NotFound for an id that is not joined.
  virtual void leave(const std::string& id, Reply<void> reply) = 0;
  virtual void set_log_level(telemetry::Level level) = 0;
  // What is in force, and what the configuration and the environment say.
  [[nodiscard]] virtual telemetry::LogFilter log_filter() const = 0;
  [[nodiscard]] virtual telemetry::LogFilter default_log_filter() const = 0;
  virtual void set_log_filter(const telemetry::LogFilter& filter) = 0;

  [[nodiscard]] virtual std::unique_ptr<DumpSource> begin_dump() const = 0;
  // Drains and ends, as SIGTERM does it. Asked twice it is one drain.
  virtual void shut_down() = 0;

  // Names of what must still happen before traffic is served; empty: ready.
  [[nodiscard]] virtual std::vector<std::string> pending_tasks() const = 0;
  // Everything for one scrape.
  [[nodiscard]] virtual telemetry::Scrape metrics() const = 0;
};

}  // namespace culvert::admin
