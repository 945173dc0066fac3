// SPDX-License-Identifier: Apache-2.0
// Streams: tunnels that speak HTTP/2 (HBONE), both roles: their session, a flow for each stream, flow control, drain, keepalive.
// streams.cpp has what both roles share, stream_client.cpp and stream_server.cpp what opens and answers streams, stream_data.cpp the bytes.
// The protocol's rules are hbone::Session; this drives it. What a turn of the loop queues in a session leaves at the turn's end at the
// latest (`flush_dirty`), so that answers, window updates and data share a record.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "direct/messages.hpp"
#include "hbone/session.hpp"
#include "proxy/worker_state.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::proxy {

class Streams final : private hbone::Events {
 public:
  explicit Streams(WorkerState& state) noexcept : state_(state) {}

  // The tunnel's handshake agreed on h2. False: out of memory.
  [[nodiscard]] bool open(Tunnel& tunnel);
  // Client: a tunnel that takes the flow now, or null. Prefers the one with the fewest streams.
  [[nodiscard]] Tunnel* pick(std::uint32_t pool_key);
  // Client: there is a tunnel of this key whose peer answers; where `pick` has none, such a one is full and will have room.
  [[nodiscard]] bool has_sound(std::uint32_t pool_key) const;
  // Client: CONNECT for the flow. False: no room on this tunnel. The flow runs, and may be gone, afterwards.
  [[nodiscard]] bool start(Tunnel& tunnel, Flow& flow);
  // Client: flows that wait for a tunnel like this one get their streams at the end of the turn.
  void serve(Tunnel& tunnel) { mark_dirty(tunnel); }

  // Decrypted bytes. Nothing is sent or received meanwhile; what follows from them is for `finish_batch`, which the caller owes. False:
  // the session has failed; the caller closes the tunnel after that.
  [[nodiscard]] bool receive(Tunnel& tunnel, ByteView data);
  void finish_batch(SlabHandle tunnel);
  // EPOLLOUT: the socket takes more, and something waited for that.
  void writable(Tunnel& tunnel);
  void on_timer(Tunnel& tunnel);

  // Application to stream, as far as windows and socket allow; END_STREAM behind the last byte.
  void move(Flow& flow, Tunnel& tunnel);
  // The application has taken bytes: the stream's window opens.
  void settle(Flow& flow, Tunnel& tunnel);
  // The flow leaves the tunnel: finished both ways, or reset.
  void detach(Flow& flow, Tunnel& tunnel);
  void reset(Flow& flow, Tunnel& tunnel, std::uint32_t code);
  // Server: the application is connected, or not.
  void accept(Flow& flow, Tunnel& tunnel);
  void refuse(Flow& flow, Tunnel& tunnel, direct::RefuseReason reason);

  // The tunnel ends: every flow on it does, or moves on where nobody has looked at it.
  void fail_flows(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail, bool may_retry);
  // Client: a flow of which only CONNECT was sent moves to another tunnel, because this one's peer acknowledges nothing. False: it was tried too often.
  [[nodiscard]] bool leave_silent(Flow& flow, Tunnel& tunnel);
  // No new streams from now on; the peer is told.
  void go_away(Tunnel& tunnel);
  // At the end of a turn: what sessions have queued is sent; tunnels that broke are closed.
  void flush_dirty();
  // HBONE tunnels that live; a drain is over when there is none.
  [[nodiscard]] std::size_t live_tunnels() const noexcept { return live_tunnels_; }
  void closed(const Tunnel& tunnel) noexcept { live_tunnels_ -= tunnel.hbone != nullptr ? 1U : 0U; }
  [[nodiscard]] bool has_dirty() const noexcept { return !dirty_.empty() || !retries_.empty(); }
  // Sends what the session has queued, as far as the socket takes it.
  void flush(Tunnel& tunnel);

 private:
  // hbone::Events
  void on_connect(hbone::StreamId stream, const hbone::ConnectRequest& request) override;
  void on_response(hbone::StreamId stream, const hbone::ConnectResponse& response) override;
  void on_data(hbone::StreamId stream, ByteView data) override;
  void on_end(hbone::StreamId stream) override;
  void on_closed(hbone::StreamId stream, hbone::StreamEnd end, std::uint32_t code) override;
  void on_writable(hbone::StreamId stream) override;
  void on_go_away(std::uint32_t code) override;

  [[nodiscard]] Endpoint source_to_tell(const Flow& flow) const noexcept;
  [[nodiscard]] Flow* find(hbone::StreamId stream) noexcept;
  void attach(Flow& flow, Tunnel& tunnel, hbone::StreamId stream);
  void mark_dirty(Tunnel& tunnel);
  void block(Flow& flow, Tunnel& tunnel);
  void run_blocked(SlabHandle tunnel);
  [[nodiscard]] bool is_suspect(const Tunnel& tunnel) const noexcept;
  [[nodiscard]] bool takes_streams(const Tunnel& tunnel) const noexcept;
  [[nodiscard]] bool may_serve(const Tunnel& tunnel) const noexcept;
  [[nodiscard]] bool must_make(const Tunnel& tunnel) const noexcept;
  void became_free(Tunnel& tunnel);
  void serve_waiting(Tunnel& tunnel);
  void schedule(Tunnel& tunnel);
  [[nodiscard]] bool is_done(const Tunnel& tunnel) const noexcept;
  [[nodiscard]] std::uint64_t idle_limit_ms(const Tunnel& tunnel) const noexcept;
  [[nodiscard]] bool is_socket_full(const Tunnel& tunnel) const noexcept;
  // The flow is tried again at the end of the turn. False: it was tried too often. `counts`: this time is one of those.
  [[nodiscard]] bool retry(Flow& flow, Tunnel& tunnel, bool counts = true);
  void run_retries();
  void give_back(Flow& flow, HboneTunnel& hbone, std::size_t kept);
  void release_withheld();
  [[nodiscard]] bool may_send(const Flow& flow) const noexcept;
  [[nodiscard]] bool send_spill(Flow& flow, Tunnel& tunnel);
  [[nodiscard]] bool send_read(Flow& flow, Tunnel& tunnel);
  void send_framed(Flow& flow, Tunnel& tunnel, MutableBytes area, std::size_t payload_bytes);
  void send_bytes(Tunnel& tunnel, ByteView bytes);
  [[nodiscard]] std::size_t send_some(Tunnel& tunnel, ByteView bytes);

  WorkerState& state_;
  Tunnel* current_ = nullptr;          // whose bytes `receive` is looking at
  std::vector<SlabHandle> starting_;   // flows of this batch whose application is to be connected
  std::vector<SlabHandle> touched_;    // flows of this batch that have something to do
  std::vector<SlabHandle> overdrawn_;  // flows of this batch for which there is no memory
  std::vector<SlabHandle> dirty_;
  struct Retry {
    SlabHandle flow;
    PoolKey key;
  };
  std::vector<Retry> retries_;
  std::size_t live_tunnels_ = 0;
  std::vector<SlabHandle> withholding_;  // tunnels whose connection window waits for memory
};

}  // namespace culvert::proxy
