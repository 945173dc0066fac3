// SPDX-License-Identifier: Apache-2.0
#include "control/xds_sender.hpp"

#include <utility>

#include <grpcpp/grpcpp.h>

namespace culvert::control {

XdsSender::XdsSender(Stream& stream, const envoy::service::discovery::v3::Node& node) : stream_(stream), node_(node) {
  thread_ = std::thread([this] { run(); });
}

XdsSender::~XdsSender() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void XdsSender::send(XdsRequest request) {
  {
    const std::lock_guard lock(mutex_);
    if (requests_.size() >= kRequestsMax) return;
    requests_.push_back(std::move(request));
  }
  changed_.notify_one();
}

std::size_t XdsSender::backlog() {
  const std::lock_guard lock(mutex_);
  return requests_.size();
}

void XdsSender::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopped_ || !requests_.empty(); });
    if (is_stopped_) return;
    XdsRequest request = std::move(requests_.front());
    requests_.pop_front();
    lock.unlock();
    // A stream that takes no more has ended: whoever reads it learns why.
    static_cast<void>(stream_.Write(to_message(std::move(request), node_)));
    lock.lock();
  }
}

}  // namespace culvert::control
