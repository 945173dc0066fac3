// SPDX-License-Identifier: Apache-2.0
// WorkerState: everything that one worker owns, for the parts that make up its behaviour (Acceptor, Outbound, Inbound,
// Tunnels, Streams, Relay, Finisher). No logic beyond small services. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.hpp"
#include "core/buffer_pool.hpp"
#include "core/poller.hpp"
#include "core/slab.hpp"
#include "core/timer_wheel.hpp"
#include "datapath/datapath.hpp"
#include "proxy/accepted_table.hpp"
#include "proxy/flow.hpp"
#include "proxy/handshake_places.hpp"
#include "proxy/identity_table.hpp"
#include "proxy/options.hpp"
#include "proxy/pod_table.hpp"
#include "proxy/token.hpp"
#include "proxy/tunnel.hpp"
#include "proxy/tunnel_pool.hpp"
#include "proxy/via_table.hpp"
#include "state/snapshot.hpp"
#include "telemetry/counters.hpp"
#include "telemetry/log.hpp"
#include "telemetry/traffic_table.hpp"
#include "tls/io_context.hpp"

namespace culvert::proxy {

class Acceptor;
class Admission;
class Demands;
class Finisher;
class HeldSyns;
class Inbound;
class Outbound;
class Relay;
class Streams;
class Tunnels;

// Where a connection that a listener of the pod has accepted was going; null: it has gone already.
[[nodiscard]] std::optional<Endpoint> destination_of(const WorkerPod& pod, int fd) noexcept;

struct WorkerState {
  WorkerState(const Options& worker_options, Poller worker_poller, datapath::SocketMarker socket_marker,
              telemetry::WorkerCounters& worker_counters, telemetry::TrafficTable& worker_traffic,
              telemetry::Log& worker_log, UniqueFd home, std::uint64_t start_ms);

  Options options;
  Poller poller;
  TimerWheel wheel;
  BufferPool buffers;
  tls::IoContext io;
  Slab<Flow> flows;
  Slab<Tunnel> tunnels;
  PodTable pods;
  TunnelPool pool;
  IdentityTable identities;
  AcceptedTable accepted;
  ViaTable vias;
  // Hostnames of the services that were dialled. Grows only by these; 0 is none.
  state::NameTable services;
  std::unordered_map<SpiffeId, std::shared_ptr<const tls::Credentials>> credentials;
  std::shared_ptr<const state::Snapshot> snapshot;
  datapath::SocketMarker marker;
  telemetry::WorkerCounters& counters;
  telemetry::TrafficTable& traffic;
  telemetry::Log& log;
  UniqueFd home_netns;
  UniqueFd spare_fd;                         // given up for a moment when descriptors run out, to refuse aloud
  std::vector<SlabHandle> deferred;          // flows that used up their turn and can go on
  std::vector<SlabHandle> deferred_tunnels;  // tunnels without a flow of their own that have more to receive
  std::uint64_t now_ms;
  std::uint64_t next_flow_id = 1;
  std::uint32_t worker_index = 0;
  HandshakePlaces handshake_places;  // of servers
  bool is_draining = false;
  std::mt19937_64 randomness{std::random_device{}()};

  // The parts; set once by Worker.
  Acceptor* acceptor = nullptr;
  Outbound* outbound = nullptr;
  Inbound* inbound = nullptr;
  Admission* admission = nullptr;
  Demands* demands = nullptr;
  Tunnels* tunnel_engine = nullptr;
  Streams* streams = nullptr;
  Relay* relay = nullptr;
  Finisher* finisher = nullptr;
  HeldSyns* held = nullptr;

  // A TCP socket in the pod's namespace, marked as the agent's own: a descriptor, or -errno.
  [[nodiscard]] int pod_socket(const WorkerPod& pod, int family) noexcept;
  // OPEN or CONNECT is about to leave on the flow's tunnel, from which nothing came for `silent_ms`. Until it is answered the far side may take its whole time to
  // connect to the application; of what is doubtful the path is looked at sooner.
  void await_answer(Flow& flow, const Tunnel& tunnel, std::uint64_t silent_ms);
  // 0: none.
  void set_deadline(Flow& flow, std::uint64_t after_ms);
  void set_deadline(Tunnel& tunnel, std::uint64_t after_ms);
  // Edge-triggered, all directions. False: out of memory or descriptors.
  [[nodiscard]] bool watch(int fd, TokenKind kind, SlabHandle handle) noexcept;
  // The same for one that is watched already, under another handle; what is there now is told again.
  [[nodiscard]] bool rewatch(int fd, TokenKind kind, SlabHandle handle) noexcept;
  [[nodiscard]] std::shared_ptr<const tls::Credentials> credentials_of(const WorkerPod& pod) const;
  // Null when the flow was not taken for a limit.
  [[nodiscard]] Flow* new_flow(FlowRole role, std::uint32_t pod_slot);
  // The flow goes over this tunnel from now on; what the log tells of it is kept for when the tunnel is gone.
  void note_tunnel(Flow& flow, const Tunnel& tunnel) noexcept;
  void defer(Flow& flow);
  void defer(Tunnel& tunnel);
  // Whom the mesh has at this address of the agent's own network; null: nobody.
  [[nodiscard]] std::shared_ptr<const state::WorkloadEntry> find_workload(const IpAddress& address) const noexcept;
  // Not for secrets: choice among endpoints, trace identifiers.
  [[nodiscard]] std::uint64_t random_word() noexcept { return randomness(); }
};

}  // namespace culvert::proxy
