// SPDX-License-Identifier: Apache-2.0
// FileWatch: says when a file may have changed, however it is replaced: written in place, renamed over, or reached through
// symbolic links that are swapped (Kubernetes volumes). It watches every directory on the way whose entry decides what the path
// means. Control thread only; it does not read the file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "core/reactor.hpp"

namespace culvert::control {

// The directories in which a path's components are looked up where that can change it: those that hold the file or a symbolic
// link on the way. Follows at most 40 links; a missing component ends the walk.
[[nodiscard]] std::vector<std::string> deciding_directories(const std::string& path);

class FileWatch {
 public:
  static constexpr std::uint64_t kSettleMs = 100;  // writers make several events; the last one counts

  // `reactor` outlives the watch. `changed` may be called without a change.
  [[nodiscard]] static Result<std::unique_ptr<FileWatch>> open(Reactor& reactor, std::string path,
                                                               std::function<void()> changed);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

 private:
  FileWatch(Reactor& reactor, std::string path, std::function<void()> changed, UniqueFd inotify);
  void read_events();
  void watch_directories();
  void settle();

  Reactor& reactor_;
  std::string path_;
  std::function<void()> changed_;
  UniqueFd inotify_;
  std::unordered_map<std::string, int> watches_;  // inotify descriptor by directory
  std::optional<Reactor::TimerId> timer_;
};

}  // namespace culvert::control
