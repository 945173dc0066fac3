// SPDX-License-Identifier: Apache-2.0
// Tunnels: the life of the TLS connections between agents, both roles: made or accepted, handshake, records in and out, reuse,
// end. tunnels.cpp has what both roles share, tunnel_client.cpp and tunnel_server.cpp the rest. The protocol's rules are
// direct::ClientSession and direct::ServerSession; this drives them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/bytes.hpp"
#include "direct/messages.hpp"
#include "proxy/handshake_limiter.hpp"
#include "proxy/worker_state.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::proxy {

class Tunnels {
 public:
  explicit Tunnels(WorkerState& state);

  // Client: gives the flow an idle tunnel, or lets it wait while one is made. The flow's first bytes may be in `spill`.
  void want(Flow& flow, const PoolKey& key);
  // Server: a TCP connection on port 15008 of a pod.
  void accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote);

  void on_event(SlabHandle handle, std::uint32_t events);
  void on_timer(SlabHandle handle);
  // Receives while somebody can take what comes.
  void pump(SlabHandle handle);

  // Bytes of application data taken. A failure closes the tunnel at the next safe point.
  std::size_t send_data(Tunnel& tunnel, ByteView data);
  void send_end(Tunnel& tunnel);
  // Server: the application's connection is up, or not.
  void send_accept(Tunnel& tunnel);
  void accept_soon(Tunnel& tunnel);     // after the application had its chance to speak
  void accept_at_last(Tunnel& tunnel);  // ACCEPT alone, if it is still owed
  void refuse(Tunnel& tunnel, direct::RefuseReason reason);
  // Whoever sends tells of a failure; the tunnel ends when what has arrived before it is received.
  void send_failed(Tunnel& tunnel, const tls::IoResult& result);
  // After END both ways the tunnel is free for the next flow.
  void detach_if_done(Tunnel& tunnel, Flow& flow);
  // The flow ends out of order: RESET, close_notify, close.
  void reset_flow(Tunnel& tunnel);
  // A waiting flow gives up.
  void stop_waiting(Flow& flow);

  // HBONE: the session is at its end; flows that are left fail with this reason.
  void end_hbone(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  // The same, because the session has failed; counted and logged.
  void end_unsound(Tunnel& tunnel);
  // Client: more flows wait than tunnels are being made for.
  void make_more(std::uint32_t key) { make_tunnels(key); }
  // Client: what flows wait for may not come, because a tunnel's peer has fallen silent.
  void make_elsewhere(std::uint32_t key);

  // GOAWAY on every tunnel; idle ones are closed.
  void begin_drain();
  void drop_pod(std::uint32_t slot, bool closes_busy);
  // The pod has another certificate: tunnels that are there carry no further connection. What waits for one whose handshake has begun with the
  // old certificate gets another.
  void renew_pod(std::uint32_t slot);
  // Ends a tunnel at once, and every flow on it with this reason.
  void cut(SlabHandle handle, telemetry::CloseReason reason, bool is_orderly);

  // Some that are closed have last records that the kernel has not taken.
  [[nodiscard]] bool has_lingering() const noexcept { return lingering_ > 0; }

  void set_handshake_rate(std::uint32_t per_second) noexcept { limiter_.set_rate(per_second); }
  // Client, direct: another tunnel carries the flow of this one, if none of its bytes has left yet and it has not moved before. False: it cannot.
  [[nodiscard]] bool retry_elsewhere(Tunnel& tunnel);

 private:
  [[nodiscard]] static telemetry::CloseReason reason_for(tls::IoFailure failure) noexcept;
  [[nodiscard]] static telemetry::CloseReason reason_for(tls::HandshakeFailure failure) noexcept;

  // Both roles.
  void advance_handshake(Tunnel& tunnel);
  void handshake_done(Tunnel& tunnel);
  void handshake_failed(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  [[nodiscard]] bool is_revoked(Tunnel& tunnel, const tls::HandshakeOutcome& outcome);
  [[nodiscard]] bool handle_segment(Tunnel& tunnel, const tls::Segment& segment);
  [[nodiscard]] bool handle_control(Tunnel& tunnel, ByteView record);
  [[nodiscard]] bool act(Tunnel& tunnel, direct::Action action, const std::optional<direct::Message>& message);
  [[nodiscard]] bool handle_data(Tunnel& tunnel, ByteView data);
  void close_broken(Tunnel& tunnel);
  void pump_streams(SlabHandle handle);
  [[nodiscard]] bool receive_streams(Tunnel& tunnel);
  void receive_ended(Tunnel& tunnel, const tls::IoResult& result);
  void end_unsent(Tunnel& tunnel);
  void send_message(Tunnel& tunnel, const direct::Message& message);
  void send_go_away(Tunnel& tunnel);
  void end_flow(Tunnel& tunnel);
  void peer_ended(Tunnel& tunnel, Flow& flow);
  void note_flow_end(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  void fail_flow(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  void close(Tunnel& tunnel, bool is_orderly);
  [[nodiscard]] bool linger(Tunnel& tunnel);
  void linger_on(Tunnel& tunnel, std::uint32_t events);
  void end_lingering(Tunnel& tunnel, bool is_orderly);
  [[nodiscard]] bool may_receive(Tunnel& tunnel) noexcept;

  // Client.
  void make_tunnels(std::uint32_t key);
  void start_tunnel(std::uint32_t key, bool is_overflow);
  [[nodiscard]] UniqueFd outer_stream(const WorkerPod& pod, const Via& via);
  void fail_waiting(std::uint32_t key, telemetry::CloseReason reason, std::string_view detail);
  void connected(Tunnel& tunnel);
  void retire(std::uint32_t slot, bool closes_busy, bool with_unmade);
  void make_anew(Tunnel& tunnel);
  void not_made(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  void making_failed(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail);
  void serve_next(Tunnel& tunnel);
  void open_flow(Tunnel& tunnel, Flow& flow);
  void become_idle(Tunnel& tunnel);
  [[nodiscard]] bool is_only_opened(const Tunnel& tunnel) const noexcept;
  void keep_ticket(Tunnel& tunnel, const direct::Ticket& ticket);

  WorkerState& state_;
  HandshakeLimiter limiter_;
  std::size_t lingering_ = 0;  // tunnels in TunnelState::Closing
};

}  // namespace culvert::proxy
