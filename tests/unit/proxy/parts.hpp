// SPDX-License-Identifier: Apache-2.0
// The parts of one worker, without its thread: a test makes the turns of the loop. And the far end of a tunnel: a real TLS connection with an
// HTTP/2 session behind it, which does what the test says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "../hbone/support.hpp"
#include "../tls/support.hpp"
#include "proxy/admission.hpp"
#include "proxy/demands.hpp"
#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/inbound.hpp"
#include "proxy/outbound.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/tunnels.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy::test {

inline constexpr std::uint32_t kSlot = 1;

class Parts {
 public:
  // One pod, kSlot, whose namespace cannot be entered: what is to be connected from there fails at once.
  explicit Parts(const Options& options = {});
  ~Parts();
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  // One turn of the loop; waits up to `wait_ms` for events.
  void turn(int wait_ms = 0);
  // Turns until `is_done` says so, five seconds at most. `between` runs after each.
  template <typename Between, typename IsDone>
  [[nodiscard]] bool turn_until(Between&& between, IsDone&& is_done) {
    for (unsigned i = 0; i < 5'000 && !is_done(); ++i) {
      turn(1);
      between();
    }
    return is_done();
  }
  // The clock goes on; what was due on the way happens.
  void pass(std::uint64_t ms);

  // A flow of the pod; `application` is the other end of its socket, with as small buffers as there are.
  [[nodiscard]] Flow& new_flow(UniqueFd& application);
  // A tunnel that has just been made.
  [[nodiscard]] Tunnel& add_tunnel(tls::TunnelSocket socket, const PoolKey& key, bool is_client = true);
  // A direct one, idle in the pool.
  void add_idle(tls::TunnelSocket socket, const PoolKey& key);
  [[nodiscard]] PoolKey key() { return {kSlot, accepted_, Endpoint::parse("10.2.0.7:15008").value(), 0}; }
  [[nodiscard]] bool is_live(SlabHandle flow) { return state.flows.find(flow) != nullptr; }

 private:
  std::unique_ptr<telemetry::Log> log_;
  telemetry::WorkerCounters counters_;
  telemetry::LabelBudget budget_{100};
  telemetry::TrafficTable traffic_{budget_};

 public:
  WorkerState state;
  Outbound outbound;
  Inbound inbound;
  Admission admission;
  Demands demands;
  Tunnels tunnels;
  Streams streams;
  Relay relay;
  Finisher finisher;
  HeldSyns held;

 private:
  std::uint32_t accepted_;
};

// The far end; `near` is for Parts::add_tunnel.
class Peer {
 public:
  explicit Peer(bool is_server, const hbone::Limits& limits = {});
  // Takes what has come and sends what there is to say. False: the connection has ended.
  bool carry();
  void send(hbone::StreamId stream, std::string_view payload);

  tls::test::Tunnels link;
  tls::TunnelSocket near;
  tls::TunnelSocket socket;
  std::unique_ptr<hbone::Session> session;
  hbone::test::Recorder told;

 private:
  void flush();
  tls::test::End& end_;
  std::string out_;
  std::uint64_t now_ms_ = hbone::test::kStartMs;
};

// What can be read from `fd` now.
[[nodiscard]] std::string read_all(int fd);

}  // namespace culvert::proxy::test
