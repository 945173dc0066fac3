// SPDX-License-Identifier: Apache-2.0
// HeldSyns: connections that the application has asked for and that the agent has not answered, because the far end is to answer first
// (capture.answer_syn: after_connect). The kernel hands the SYN over and forgets it; a flow without a client begins; when the far end has answered,
// the SYN is sent again and the listener takes it; when it has not, the application's connect() fails as without a mesh. One worker, one thread.
//
// A SYN is let through at once, and the connection is as with at_once, when a limit below is reached, when its source is not one of the pod's
// addresses, and where the kernel could not hand it over. Nothing outlives the agent: without it a SYN finds no listener, and its next
// copy comes to the next agent.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <tuple>

#include "culvert/abi/syn.h"
#include "datapath/syn_gate.hpp"
#include "proxy/syn_packet.hpp"
#include "proxy/worker_state.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::proxy {

class HeldSyns {
 public:
  // Of one worker.
  static constexpr std::size_t kPerPodMax = 1'024;
  static constexpr std::size_t kMax = 8'192;
  static constexpr unsigned kReadPerTurn = CV_SYN_RING_BYTES / 64;  // about what a ring holds

  HeldSyns(WorkerState& state, datapath::SynGate gate) noexcept : state_(state), gate_(gate) {}

  // Options::answers_after_connect holds from now on, for every pod that has no word of its own; what is held goes on.
  void follow_options();
  // The pod's own word has changed.
  void follow(WorkerPod& pod);
  // The pod's listeners serve.
  void open(WorkerPod& pod);
  // Closes those of its listeners that hold SYNs: none of these is answered on the way.
  void close(WorkerPod& pod);
  // Takes what the ring has: it is readable. About a ring's worth between two calls of begin_arrived(), whoever fills it: what finds it full
  // the kernel answers at once.
  void read_ring();
  // A SYN of a pod, from its IP header on; it may be anything. One that is to wait begins when begin_arrived() comes to it.
  void on_syn(std::uint32_t slot, ByteView bytes);
  // Begins what has arrived, so many at a time that nothing else starves.
  void begin_arrived();
  [[nodiscard]] bool has_arrived() const noexcept { return !arrived_.empty(); }

  // The flow that waits for this connection, which the listener has just accepted; null: nobody waits for it.
  [[nodiscard]] Flow* take(const WorkerPod& pod, const Endpoint& source, const Endpoint& destination);
  // The far end has answered a held flow.
  void answered(Flow& flow);
  // A held flow ends: its application is told, in a way that fits the reason.
  void ended(Flow& flow, telemetry::CloseReason reason);
  // Ends the held flows of a pod, or of all (0): no listener would take them.
  void end_all(std::uint32_t slot, telemetry::CloseReason reason);

  [[nodiscard]] bool is_empty() const noexcept { return held_.empty(); }

 private:
  using Key = std::tuple<std::uint32_t, Endpoint, Endpoint>;  // slot, source, destination
  struct Held {
    SynPacket packet;
    SlabHandle flow;  // none: it has arrived and not begun
  };
  using Place = std::map<Key, Held>::iterator;
  enum class Answer : std::uint8_t { Reset, Unreachable, Silence, Again };  // Again: the SYN, to the listener

  [[nodiscard]] static Key key_of(const Flow& flow) { return {flow.pod_slot, flow.source, flow.destination}; }
  [[nodiscard]] static Answer answer_for(telemetry::CloseReason reason, bool is_hbone) noexcept;
  void begin(WorkerPod& pod, Place place);
  void answer(const WorkerPod& pod, const SynPacket& packet, Answer answer);
  void release(WorkerPod& pod);
  [[nodiscard]] bool wants(const WorkerPod& pod) const noexcept;
  [[nodiscard]] bool open_ring();
  [[nodiscard]] int open_sender(WorkerPod& pod);
  void send(const WorkerPod& pod, ByteView frame);
  void erase(Place place);

  WorkerState& state_;
  datapath::SynGate gate_;
  std::unique_ptr<datapath::SynRing> ring_;  // null: nothing is held
  std::map<Key, Held> held_;
  // In the order of their arrival; one that is not held any more, or has begun, is passed over.
  std::deque<Key> arrived_;
  unsigned may_read_ = kReadPerTurn;  // of the ring, until the next begin_arrived()
};

}  // namespace culvert::proxy
