// SPDX-License-Identifier: Apache-2.0
// XdsClient: the stream of delta discovery, on a thread of its own: connects, reconnects with growing pauses, decodes what comes, and hands it to
// the control thread piece by piece, waiting for each, so that a large push is in memory once and never blocks that thread for long. What the
// pieces mean is XdsSession's. While nobody answers everything stays as it is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/control_plane_config.hpp"
#include "control/grpc_channel.hpp"
#include "control/xds_backoff.hpp"
#include "control/xds_session.hpp"

namespace culvert::control {

struct XdsCounters {
  std::array<std::atomic<std::uint64_t>, kXdsEnds> ended{};
  // Addresses, authorizations, others.
  std::array<std::atomic<std::uint64_t>, 3> messages{};
  std::array<std::atomic<std::uint64_t>, 3> bytes{};
  std::atomic<bool> is_connected{false};
};

class XdsClient {
 public:
  struct Callbacks {
    // Runs a task on the control thread.
    std::function<void(std::function<void()>)> post;
    // The following run there.
    std::function<std::vector<XdsRequest>()> opened;
    std::function<std::optional<XdsRequest>(const XdsUpdate&)> received;
    std::function<void(XdsEnd, const std::string& why)> ended;  // `why` is empty for an orderly end
  };

  XdsClient(const ControlPlaneConfig& config, const std::string& node_name, const std::string& cluster,
            Callbacks callbacks);
  ~XdsClient();  // cuts the stream and waits for the thread; none of the callbacks runs any more
  XdsClient(const XdsClient&) = delete;
  XdsClient& operator=(const XdsClient&) = delete;

  // Sends a request on the open stream; without one it is forgotten, since `opened` says all again. Control thread.
  void send(XdsRequest request);
  // Requests that the open stream has not taken yet. Control thread.
  [[nodiscard]] std::size_t backlog() const;
  [[nodiscard]] const XdsCounters& counters() const noexcept;

  static constexpr std::uint64_t kSettledMs = 2'000;  // a stream that ended sooner counts as a failure
  // Refusals (NACKs) in a row that are sent as they come; further ones at this distance.
  static constexpr std::uint32_t kRefusalsAtOnce = 10;
  static constexpr std::uint64_t kRefusalMsMin = 200;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // tasks that were posted may outlive this
};

}  // namespace culvert::control
