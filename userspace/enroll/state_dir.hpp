// SPDX-License-Identifier: Apache-2.0
// StateDir: the directory in which the agent keeps its pods across restarts: pods/ID.json, tombstones/ID, which the CNI plugin leaves when a
// DEL finds no agent, and boot_id, the boot that all of it belongs to. Namespaces end with the kernel, and the next one gives their paths, inode
// numbers and cookies to others: what another boot has left is removed unread. Control thread only. It knows files, not namespaces.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "enroll/pod_record.hpp"

namespace culvert::enroll {

class StateDir {
 public:
  // Makes what is missing. 0700: the records name every pod of the node. `boot_id` is the running kernel's (current_boot_id).
  [[nodiscard]] static Result<StateDir> open(const std::string& path, const std::string& boot_id);

  [[nodiscard]] Result<void> write(const PodRecord& record) const;
  [[nodiscard]] Result<void> remove(const std::string& id) const;  // what is not there is removed already

  struct Loaded {
    std::string id;
    Result<PodRecord> record;
  };
  // Every record, sorted by id; one that cannot be read or is not what its file name says has its error.
  [[nodiscard]] Result<std::vector<Loaded>> load() const;

  // The ids whose DEL found no agent; the files stay until `remove_tombstone`.
  [[nodiscard]] std::vector<std::string> tombstones() const;
  void remove_tombstone(const std::string& id) const noexcept;

 private:
  explicit StateDir(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] std::string record_path(const std::string& id) const;

  [[nodiscard]] Result<void> leave_other_boot(const std::string& boot_id);

  std::string path_;
};

[[nodiscard]] Result<std::string> current_boot_id();

}  // namespace culvert::enroll
