// SPDX-License-Identifier: Apache-2.0
// ZdsSession: which pods istio-cni has given to this node's proxy, over all of its connections: what each message changes, and what is answered.
// No sockets and no clock: ZdsClient feeds it, ZdsTarget does what it says. Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "control/zds_messages.hpp"
#include "core/netns.hpp"

namespace culvert::control {

class ZdsTarget {
 public:
  virtual ~ZdsTarget() = default;
  // Serves the pod from now on. `netns` is a copy of the session's descriptor. Unavailable: the pod has no network, so nothing of it is to be served.
  [[nodiscard]] virtual Result<void> start(const ZdsWorkload& workload, UniqueFd netns) = 0;
  // Serves it no longer; its connections are cut.
  virtual void stop(const std::string& uid) = 0;
};

class ZdsSession {
 public:
  // Pods that a node can have; an Add beyond it is answered with an error.
  static constexpr std::size_t kPodsMax = 4'096;

  // `target` outlives the session.
  explicit ZdsSession(ZdsTarget& target) : target_(target) {}

  // A new connection: a snapshot follows.
  void connected();
  // Nothing stops with a connection.
  void disconnected() { is_connected_ = false; }
  // Does what the message says. The text of the ack, empty: all is well; or an error of the protocol, after which there is nothing to answer.
  // `netns` and its id come with an Add.
  [[nodiscard]] Result<std::string> take(ZdsRequest request, UniqueFd netns, NetnsId id);
  // Another try for what could not be started. True: something is left to try.
  bool retry();

  [[nodiscard]] bool has_pending() const noexcept { return pending_ != 0; }
  // Connected, told of every pod, and serving all of them that have a network.
  [[nodiscard]] bool is_ready() const noexcept { return is_connected_ && has_snapshot_ && pending_ == unreachable_; }
  [[nodiscard]] std::size_t active() const noexcept { return pods_.size() - pending_; }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_; }

 private:
  struct Pod {
    ZdsWorkload workload;
    UniqueFd netns;
    NetnsId id;
    bool is_running = false;
    bool is_unreachable = false;  // not running, since it has no network
  };
  [[nodiscard]] std::string add(ZdsWorkload workload, UniqueFd netns, NetnsId id);
  [[nodiscard]] Result<void> start(Pod& pod);
  void set_unreachable(Pod& pod, bool is_unreachable);
  void drop(std::map<std::string, Pod>::iterator place);

  ZdsTarget& target_;
  std::map<std::string, Pod> pods_;  // by uid
  std::set<std::string> named_;      // by this connection's snapshot, while it comes
  std::size_t pending_ = 0;
  std::size_t unreachable_ = 0;  // of the pending ones
  bool is_connected_ = false;
  bool has_snapshot_ = false;
};

}  // namespace culvert::control
