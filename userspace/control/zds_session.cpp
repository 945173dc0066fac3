// SPDX-License-Identifier: Apache-2.0
#include "control/zds_session.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>

namespace culvert::control {

void ZdsSession::connected() {
  is_connected_ = true;
  has_snapshot_ = false;
  named_.clear();
}

Result<std::string> ZdsSession::take(ZdsRequest request, UniqueFd netns, NetnsId id) {
  const std::string uid = request.workload.uid;
  switch (request.kind) {
    case ZdsRequest::Kind::Add:
      if (!has_snapshot_) named_.insert(uid);
      return add(std::move(request.workload), std::move(netns), id);
    case ZdsRequest::Kind::Keep:
      if (has_snapshot_) return fail(ErrorCode::Protocol, "KeepWorkload {} after the snapshot", uid);
      named_.insert(uid);
      return std::string();
    case ZdsRequest::Kind::Delete:
      named_.erase(uid);
      if (const auto place = pods_.find(uid); place != pods_.end()) drop(place);
      return std::string();
    case ZdsRequest::Kind::SnapshotSent: break;
  }
  if (has_snapshot_) return fail(ErrorCode::Protocol, "a second SnapshotSent on one connection");
  has_snapshot_ = true;
  for (auto place = pods_.begin(); place != pods_.end();) {
    const auto one = place++;
    if (!named_.contains(one->first)) drop(one);
  }
  named_.clear();
  return std::string();
}

std::string ZdsSession::add(ZdsWorkload workload, UniqueFd netns, NetnsId id) {
  if (const auto known = pods_.find(workload.uid); known != pods_.end()) {
    if (known->second.is_running && known->second.id == id) return {};
    // The pod has another sandbox, or could not be started before.
    drop(known);
  }
  if (pods_.size() >= kPodsMax) return fmt::format("this node has {} pods in the mesh, which is the limit", kPodsMax);
  std::string uid = workload.uid;
  ++pending_;
  Pod& pod = pods_.emplace(std::move(uid), Pod{std::move(workload), std::move(netns), id, false}).first->second;
  const Result<void> started = start(pod);
  return started ? std::string() : started.error().message();
}

Result<void> ZdsSession::start(Pod& pod) {
  UniqueFd copy(::fcntl(pod.netns.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy)
    return fail_errno(errno, "cannot copy the descriptor of the network namespace of pod {}", pod.workload.uid);
  Result<void> started = target_.start(pod.workload, std::move(copy));
  set_unreachable(pod, !started && started.error().code() == ErrorCode::NotFound);
  if (!started) return started;
  pod.is_running = true;
  --pending_;
  return {};
}

void ZdsSession::set_unreachable(Pod& pod, bool is_unreachable) {
  if (std::exchange(pod.is_unreachable, is_unreachable) == is_unreachable) return;
  is_unreachable ? ++unreachable_ : --unreachable_;
}

void ZdsSession::drop(std::map<std::string, Pod>::iterator place) {
  set_unreachable(place->second, false);
  const auto pod = pods_.extract(place);
  if (!pod.mapped().is_running) {
    --pending_;
    return;
  }
  target_.stop(pod.key());
}

bool ZdsSession::retry() {
  for (auto& [uid, pod] : pods_) {
    if (!pod.is_running) static_cast<void>(start(pod));
  }
  return pending_ != 0;
}

}  // namespace culvert::control
