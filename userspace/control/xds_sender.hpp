// SPDX-License-Identifier: Apache-2.0
// XdsSender: what goes out on one stream of discovery, written by a thread of its own: a write waits for as long as the other side does not
// read, and neither the control thread nor the one that reads may wait with it. An answer that finds kRequestsMax others waiting is forgotten: the
// other side sends and sends, and has stopped reading.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <grpcpp/support/sync_stream.h>

#include "control/xds_messages.hpp"

namespace culvert::control {

class XdsSender {
 public:
  using Stream = grpc::ClientReaderWriter<envoy::service::discovery::v3::DeltaDiscoveryRequest,
                                          envoy::service::discovery::v3::DeltaDiscoveryResponse>;

  static constexpr std::size_t kRequestsMax = 4'096;

  // Both outlive the sender.
  XdsSender(Stream& stream, const envoy::service::discovery::v3::Node& node);
  // What was not written is forgotten. The stream must have ended or been cancelled, which ends a write that waits.
  ~XdsSender();
  XdsSender(const XdsSender&) = delete;
  XdsSender& operator=(const XdsSender&) = delete;

  // Any thread; does not wait.
  void send(XdsRequest request);
  // Requests that were not written yet. Any thread.
  [[nodiscard]] std::size_t backlog();

 private:
  void run();

  Stream& stream_;
  const envoy::service::discovery::v3::Node& node_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<XdsRequest> requests_;
  bool is_stopped_ = false;
  std::thread thread_;
};

}  // namespace culvert::control
