// SPDX-License-Identifier: Apache-2.0
// Relay: moves the bytes of open flows, in both directions, until nothing can move. Back-pressure: what one side does not take is
// kept in one lent buffer and nothing more is read for it. Edge-triggered readiness is remembered in the sides; a flow that
// uses up its turn goes on the worker's list and others come first.
#pragma once

#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "base/bytes.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Relay {
 public:
  explicit Relay(WorkerState& state) noexcept : state_(state) {}

  // Records what epoll said about a plain socket.
  static void note_events(Side& side, std::uint32_t events) noexcept;
  // Moves what can be moved, then ends the flow if it is done or broken. The flow may be gone afterwards.
  void run(SlabHandle handle);
  // A flow's deadline is there: its own, or the one of whoever begins connections of its kind.
  void on_timer(Flow& flow);
  // What the application has written so far, to leave together with OPEN; valid until the next read.
  [[nodiscard]] ByteView read_first(Flow& flow);
  // For those who read themselves: how much to ask for; reads into the parts, `wanted` bytes in all, and gives what came (0: the flags
  // say why); counts what was read of the application.
  [[nodiscard]] std::size_t read_size(const Side& side) const noexcept;
  [[nodiscard]] std::size_t read_into(Side& side, std::span<const iovec> parts, std::size_t wanted) noexcept;
  // Bytes from the tunnel for the plain side: written at once as far as the socket takes them, the rest kept.
  void deliver(Flow& flow, ByteView data);

 private:
  // Reads at most this many times per turn and direction.
  static constexpr unsigned kReadsPerTurn = 8;

  void flush(Side& side);
  [[nodiscard]] bool may_splice(const Side& side, const Tunnel& tunnel) const noexcept;
  void splice_to_tunnel(Flow& flow, Tunnel& tunnel);
  void plain_to_tunnel(Flow& flow, Tunnel& tunnel);
  void copy(Flow& flow, Side& from, Side& to, bool is_client_to_server);
  // Reads once into the scratch buffer; empty when nothing came (flags say why).
  [[nodiscard]] ByteView read_some(Side& side);
  void write_some(Side& side, ByteView data);
  void pass_on_eof(Side& to, bool is_source_finished);
  void finish_if_done(Flow& flow);
  void await_reset(Flow& flow);
  // The time is over that was given to what came before a reset: the flow ends, unless some of it has been taken meanwhile.
  void reset_overdue(Flow& flow);

  WorkerState& state_;
};

}  // namespace culvert::proxy
