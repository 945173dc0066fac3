// SPDX-License-Identifier: Apache-2.0
// Forwarder: questions that the mesh does not answer, asked of the servers of resolv.conf from inside one pod's network namespace, so that its
// routes and policies apply. c-ares sends, repeats, and asks over TCP where an answer is cut; the answer is passed on as bytes. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/bytes.hpp"
#include "core/reactor.hpp"
#include "dns/message.hpp"

namespace culvert::dns {

class Forwarder {
 public:
  static constexpr std::size_t kQuestionsMax = 1'024;  // out at once, of one pod
  // A socket in the pod's namespace, not blocking, with the agent's mark: a descriptor or -errno.
  using SocketMaker = std::function<int(int family, int type)>;
  // A server's answer; or empty bytes and why there is none.
  using Callback = std::function<void(ByteView answer, Rcode code, const char* why)>;

  // `reactor` outlives the forwarder. No memory is taken before the first question.
  Forwarder(Reactor& reactor, SocketMaker make_socket);
  ~Forwarder();  // questions that are out are not answered
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // `done` is called once, perhaps before this returns. `packet` is a whole question of at most kQueryBytesMax.
  void ask(ByteView packet, Callback done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace culvert::dns
