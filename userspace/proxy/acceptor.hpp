// SPDX-License-Identifier: Apache-2.0
// Acceptor: a worker's listeners in the pods: taking connections, also when descriptors run out, and handing each to the part
// that knows what to do with it.
#pragma once

#include <vector>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Acceptor {
 public:
  explicit Acceptor(WorkerState& state) noexcept;

  // Registers the pod's listeners. False: epoll refused; the pod is not served by this worker.
  [[nodiscard]] bool open(WorkerPod& pod);
  // Closes them: no new connection.
  void close(WorkerPod& pod);
  void on_event(SlabHandle listener);
  // Takes the applications' connections that wait in the pod's queues: closing a listener resets them. Peers' tunnels come again by themselves.
  void take_waiting(std::uint32_t slot);

 private:
  static constexpr unsigned kAcceptsPerTurn = 64;
  [[nodiscard]] UniqueFd* find(SlabHandle listener) const noexcept;
  // Accepts and resets one connection with the spare descriptor, so that a peer learns at once and the queue empties. False: that was not
  // possible either, and the connection goes on waiting.
  [[nodiscard]] bool refuse_one(int listener_fd) noexcept;
  // The listener is not looked at for a moment: a connection that can be neither taken nor refused keeps it readable.
  void look_away(SlabHandle listener, int listener_fd);
  void look_again();

  WorkerState& state_;
  UniqueFd alarm_;  // a timerfd among the listeners; when to `look_again`
  std::vector<SlabHandle> looked_away_;
};

}  // namespace culvert::proxy
