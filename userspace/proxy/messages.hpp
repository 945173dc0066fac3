// SPDX-License-Identifier: Apache-2.0
// What the control thread tells a worker, and what a worker answers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "proxy/options.hpp"
#include "proxy/pod_table.hpp"
#include "state/snapshot.hpp"
#include "telemetry/connection_log.hpp"
#include "tls/credentials.hpp"

namespace culvert::proxy {

struct AddPod {
  PodSetup setup;
};
// The pod joined again with other values and the same listeners.
struct UpdatePod {
  std::uint32_t slot = 0;
  std::vector<IpAddress> addresses;
  std::optional<AnswerSyn> answer_syn;
};
// The control plane has said who the pod is: new connections have this identity, live ones keep theirs.
struct SetPodIdentity {
  std::uint32_t slot = 0;
  SpiffeId identity;
  std::shared_ptr<const tls::Credentials> credentials;  // may be null: none yet
};
// The pod takes no new connections. Live ones go on until `deadline_ms` from now; 0 ends them at once. `done` is called on the
// worker's thread when none is left.
struct RemovePod {
  std::uint32_t slot = 0;
  std::uint64_t deadline_ms = 0;
  std::function<void()> done;
};
// The options changed: limits and times hold from now on, also for what is under way where they are looked at again. What a worker was
// built with (mark, engines, buffers) is as it was; the sender sees to that.
struct SetOptions {
  Options options;
};
struct SetSnapshot {
  std::shared_ptr<const state::Snapshot> snapshot;
};
// New handshakes of this identity use these; live connections notice nothing.
struct SetCredentials {
  SpiffeId identity;
  std::shared_ptr<const tls::Credentials> credentials;
};
// Options::revocation has other lists than before.
struct CheckRevocation {};
// `done` is called on the worker's thread with every live connection, some turns of its loop later.
using ConnectionPages = std::vector<std::vector<telemetry::ConnectionLog>>;
struct ListConnections {
  std::function<void(ConnectionPages)> done;
};
// Label sets of traffic that no connection has had for so long are let go, some in each turn of the loop.
struct SweepTraffic {
  std::uint64_t expiry_ms = 0;
};
// Listeners stop, tunnels say GOAWAY; `done` when no flow is left, at `deadline_ms` from now at the latest.
struct Drain {
  std::uint64_t deadline_ms = 0;
  std::function<void()> done;
};
// The answer to Options::resolve; null: there is no address.
struct NameResolved {
  SlabHandle flow;
  std::optional<IpAddress> address;
};
struct Stop {};

using ToWorker = std::variant<AddPod, UpdatePod, SetPodIdentity, RemovePod, SetOptions, SetSnapshot, SetCredentials,
                              CheckRevocation, ListConnections, SweepTraffic, Drain, NameResolved, Stop>;

}  // namespace culvert::proxy
