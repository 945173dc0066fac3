// SPDX-License-Identifier: Apache-2.0
// HboneTunnel: what a tunnel that speaks HTTP/2 has beside its socket: the session, the flows that are its streams, and what waits to be
// sent. Plain state; what it does is in streams.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/buffer_pool.hpp"
#include "core/slab.hpp"
#include "hbone/session.hpp"

namespace culvert::proxy {

struct HboneTunnel {
  std::unique_ptr<hbone::Session> session;
  Lent out;                       // framed bytes that the socket did not take
  std::vector<SlabHandle> flows;  // one for each stream; Flow::stream_place is the index
  std::vector<SlabHandle>
      blocked;  // flows that could send but for the socket or the connection's window, in their order
  std::uint64_t idle_since_ms = 0;  // 0: has streams
  std::uint64_t answer_due_ms = 0;  // 200 is held back for company until then; 0: nothing is
  bool is_withholding = false;      // on the worker's list of tunnels whose flows have withheld_bytes
  bool is_dirty = false;            // on the worker's list of tunnels with something to send
  bool is_first_send = true;        // the handshake's last flight may still wait for company
};

}  // namespace culvert::proxy
