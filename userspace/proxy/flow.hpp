// SPDX-License-Identifier: Apache-2.0
// Flow: one application connection that this agent relays. The whole state is plain and small: descriptors, flags, counters,
// and bytes in flight. What it does is in relay.cpp; how it begins in outbound.cpp and inbound.cpp; how it ends in finisher.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/unique_fd.hpp"
#include "core/buffer_pool.hpp"
#include "core/slab.hpp"
#include "proxy/deadline.hpp"
#include "state/route.hpp"
#include "state/snapshot.hpp"
#include "telemetry/close_reason.hpp"
#include "telemetry/span.hpp"
#include "telemetry/traffic_table.hpp"

namespace culvert::proxy {

// One plain TCP socket of a flow. epoll is edge-triggered: the flags say what the kernel last told us.
struct Side {
  UniqueFd fd;
  std::uint8_t read_shift = 14;  // bytes asked for by the next read, as a power of two
  bool is_readable : 1 = false;
  bool is_writable : 1 = false;
  bool has_hangup : 1 =
      false;  // RDHUP, HUP or ERR was reported: read on until 0 or an error, whatever a short read says
  bool is_at_eof : 1 = false;    // read FIN
  bool is_fin_sent : 1 = false;  // shut down for writing, after everything in `out`
  bool has_error : 1 = false;    // ERR was reported: a read learns of it once what came before has been read
  bool has_failed : 1 = false;   // a read or write met an error; the flow is aborted at the next safe point
  Lent out;                      // bytes read elsewhere that this socket has not taken
};

enum class FlowRole : std::uint8_t {
  Outbound,          // client: local application; far side: a tunnel
  Passthrough,       // client: local application; upstream: the original destination, plain
  InboundTunnel,     // client: a tunnel; upstream: local application
  InboundPlaintext,  // client: somebody without a tunnel; upstream: local application
};

enum class FlowState : std::uint8_t {
  AwaitMesh,        // the control plane is asked who FlowDetails::awaited is (Demands)
  AwaitName,        // DNS is asked for the endpoint's address
  AwaitRetry,       // its CONNECT was not looked at: asks for another tunnel at the end of this turn
  AwaitTunnel,      // in the pool's queue, or its tunnel is being made
  AwaitPolicy,      // inbound: what rules it is not known yet
  ConnectUpstream,  // a plain connect is under way
  AwaitClient,      // held: the far end has answered, and the application's connection is about to be accepted
  Open,
};

// A decision that waits for DNS: it points into its snapshot.
struct UnresolvedRoute {
  std::shared_ptr<const state::Snapshot> snapshot;
  state::Route route;
};

// What an inbound connection that waits for the mesh (AwaitMesh) came with. Plaintext: nothing.
struct HeldRequest {
  std::string authority;
  std::string baggage;
  std::string forwarded;
  std::string forwarded_network;
  bool is_for_source = false;  // only its client is not known: at the deadline it goes on without
};

// What a peer whom the mesh does not know says of its workload, for the log.
struct ToldParty {
  std::string workload;
  std::string namespace_name;
  std::string cluster;
};

// What few flows need.
struct FlowDetails {
  std::string authority;          // of the CONNECT, where it is not `target`
  std::string forwarded_network;  // Outbound, inner tunnel of another network: our own network
  std::unique_ptr<UnresolvedRoute> unresolved;
  std::string awaited;                     // AwaitMesh: a name of state/demand.hpp
  std::unique_ptr<HeldRequest> request;    // AwaitMesh, inbound
  std::vector<std::uint8_t> proxy_header;  // InboundTunnel: what the application is sent first
  Endpoint application;                    // and where it listens then: on loopback
  bool is_far_end_told = false;            // Outbound: the answer of another network says who it is
  std::unique_ptr<ToldParty> told;         // who it has said it is; Inbound: likewise of the client
  std::uint64_t taken_at_reset = 0;        // while is_reset_awaited
  telemetry::TraceContext trace;           // of a connection that gets a span
};

// Why a flow's tunnel speaks what it does.
enum class TunnelChoice : std::uint8_t {
  BothOffer,          // culvert/1, which is preferred
  OnlyOffer,          // h2: this agent offers nothing else
  OnlyTaken,          // h2: the peer takes nothing else
  Shared,             // h2, though both offer culvert/1: more flows than direct tunnels are kept for share
  GatewayOnly,        // h2: the gateway of another network is asked for a name
  WaypointOnly,       // h2: a waypoint is asked for what is behind it
  ApplicationTunnel,  // h2: so is a workload with an application tunnel
};

// A reused tunnel may be dead without anybody having been told (decision 026).
enum class Caution : std::uint8_t {
  None,
  Doubted,  // nothing had come from it for kDoubtfulAfterMs: OPEN or CONNECT leaves alone, and nothing of the application before the answer
  Looked,   // likewise; kDoubtfulAnswerMs later TCP had its acknowledgement
};
inline constexpr std::uint64_t kDoubtfulAfterMs = 2'000;
inline constexpr std::uint64_t kDoubtfulAnswerMs = 2'000;

struct Flow {
  Side client;
  Side upstream;
  // Plaintext for the tunnel that the kernel has not taken (kernel records) or that waits for a tunnel.
  Lent spill;
  // HBONE client: what was sent before the peer answered; sent again when the peer turns out not to have looked at it.
  Lent early;
  std::unique_ptr<FlowDetails> details;  // null: nothing of it
  SlabHandle self;
  SlabHandle tunnel;  // attached until END went both ways
  std::uint64_t id = 0;
  std::uint64_t received_bytes = 0;  // client to server
  std::uint64_t sent_bytes = 0;      // server to client
  std::uint64_t start_us = 0;
  std::uint64_t start_ms = 0;
  Deadline deadline;     // of the present state
  Endpoint source;       // the client, as the server will see it
  Endpoint destination;  // what the client dialled; InboundTunnel: the pod and the application's port
  Endpoint target;       // Outbound: what the far side is asked for; InboundTunnel: what the peer asked for
  Endpoint next_hop;     // Outbound: where the tunnel goes
  std::string_view why;  // static text: why this way
  telemetry::TrafficSlot* traffic = nullptr;  // held; null: who its ends are is not known (traffic.hpp)
  // The far end's workload as it was when the connection was labelled (traffic.hpp), for the log: it may be gone, and its address another's,
  // when the connection ends. Outbound: of `next_hop`; inbound: the client. Null: the mesh did not know it.
  std::shared_ptr<const state::WorkloadEntry> far_end;
  std::uint32_t service = 0;  // a number of WorkerState::services: the service that was dialled; 0: none
  std::uint32_t pod_slot = 0;
  std::uint32_t peer_identity = 0;   // index in the identity table; 0: none
  std::uint32_t pool_key = 0;        // Outbound, AwaitTunnel: which queue
  std::int32_t stream = 0;           // HBONE: its stream on the tunnel; 0: none
  std::uint32_t stream_place = 0;    // HBONE: its place in the tunnel's list of flows
  std::uint32_t unread_bytes = 0;    // HBONE: received, not yet given back to the stream's window
  std::uint32_t withheld_bytes = 0;  // HBONE: of these, not given back to the connection's either, for lack of memory
  FlowRole role = FlowRole::Outbound;
  FlowState state = FlowState::AwaitTunnel;
  TunnelChoice tunnel_choice = TunnelChoice::BothOffer;
  Caution caution = Caution::None;  // Outbound
  std::uint8_t attempts = 0;        // HBONE client: CONNECTs that nobody looked at
  // For the log, once the tunnel is gone.
  std::uint8_t cipher = 0;
  std::uint8_t tx_engine = 0;
  std::uint8_t rx_engine = 0;
  bool used_tunnel : 1 = false;
  bool is_end_sent : 1 = false;      // END towards the tunnel: the plain side is at its end
  bool is_end_received : 1 = false;  // END from the tunnel
  bool is_retried : 1 = false;       // moved once from a tunnel that had gone away
  bool is_deferred : 1 = false;      // already on the worker's list of flows to go on with
  bool is_hbone : 1 = false;         // its tunnel speaks HTTP/2
  bool is_held : 1 = false;    // its application waits for the answer to its SYN: there is no client socket (HeldSyns)
  bool is_prompt : 1 = false;  // InboundTunnel: its client waits for ACCEPT and sends nothing before
  bool is_answered : 1 = false;       // OPEN or CONNECT has been answered with ACCEPT or 200
  bool is_blocked : 1 = false;        // HBONE: on its tunnel's list of flows that wait to send
  bool is_other_network : 1 = false;  // InboundTunnel: its source address says nothing here
  bool is_source_asked : 1 = false;   // inbound: it has waited for the mesh to know its client, and does so once
  // Direct: ERR was reported of its tunnel, which is read on once the plain side takes more.
  bool has_tunnel_error : 1 = false;
  // A side has been reset: if the other one has taken nothing by the deadline, the flow ends all the same (Relay::await_reset).
  bool is_reset_awaited : 1 = false;
  bool is_counted : 1 = false;  // it has been counted as opened, under `traffic`

  [[nodiscard]] bool is_inbound() const noexcept {
    return role == FlowRole::InboundTunnel || role == FlowRole::InboundPlaintext;
  }
  [[nodiscard]] bool goes_through_tunnel() const noexcept {
    return role == FlowRole::Outbound || role == FlowRole::InboundTunnel;
  }
  [[nodiscard]] bool waits_for_answer() const noexcept { return caution != Caution::None && !is_answered; }
  [[nodiscard]] FlowDetails& need_details() {
    if (details == nullptr) details = std::make_unique<FlowDetails>();
    return *details;
  }
  // The one plain side of a flow that goes through a tunnel.
  [[nodiscard]] Side& plain() noexcept { return role == FlowRole::Outbound ? client : upstream; }
};

static_assert(sizeof(Side) <= 16 && sizeof(Flow) <= 296, "an idle connection is a Flow and a Tunnel in each agent");

}  // namespace culvert::proxy
