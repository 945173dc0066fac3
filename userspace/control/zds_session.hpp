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
  // Serves the pod from now on. `netns` is a copy of the session's descriptor.
  [[nodiscard]] virtual Result<void> start(const ZdsWorkload& workload, UniqueFd netns) = 0;
  // Serves it no longer; its connections are cut.
  virtual void stop(const std::string& uid) = 0;
};

class ZdsSession {
 public:
  struct Counters {
    std::uint64_t started = 0;
    std::uint64_t stopped = 0;
  };
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
  // Connected, told of every pod, and serving all of them.
  [[nodiscard]] bool is_ready() const noexcept { return is_connected_ && has_snapshot_ && pending_ == 0; }
  [[nodiscard]] std::size_t active() const noexcept { return pods_.size() - pending_; }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_; }
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

 private:
  struct Pod {
    ZdsWorkload workload;
    UniqueFd netns;
    NetnsId id;
    bool is_running = false;
  };
  [[nodiscard]] std::string add(ZdsWorkload workload, UniqueFd netns, NetnsId id);
  [[nodiscard]] Result<void> start(Pod& pod);
  void drop(std::map<std::string, Pod>::iterator place);

  ZdsTarget& target_;
  std::map<std::string, Pod> pods_;  // by uid
  std::set<std::string> named_;      // by this connection's snapshot, while it comes
  Counters counters_;
  std::size_t pending_ = 0;
  bool is_connected_ = false;
  bool has_snapshot_ = false;
};

}  // namespace culvert::control
