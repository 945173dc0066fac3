// SPDX-License-Identifier: Apache-2.0
// FileSource: the configuration file as a source of configurations and snapshots. It follows the file, and the one that LOCAL_XDS_PATH names,
// builds a new snapshot when one of them or the node's own pods change, and keeps the old one when a file is wrong. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/config.hpp"
#include "control/file_watch.hpp"
#include "core/reactor.hpp"
#include "state/snapshot.hpp"

namespace culvert::control {

class FileSource {
 public:
  struct Callbacks {
    // What is in force from now on. Keys that only a restart changes keep the values that the agent runs with.
    std::function<void(const Config&, std::shared_ptr<const state::Snapshot>)> changed;
    // A file cannot be read or is wrong; what was in force stays. Called once for each state of the files, and for each `reload`.
    std::function<void(const Error&)> failed;
    // Keys whose new value waits for a restart; never empty. Called when that set has changed.
    std::function<void(const std::vector<std::string>&)> restart_needed;
  };

  // `path` empty: there is no configuration file. `running`: what the agent started with, from load_config or default_config; its
  // Config::local_path is followed likewise. Without either only `set_local_workloads` makes snapshots. `changed` is called once
  // from in here, with the first snapshot. `reactor` outlives the source. Not being able to watch is reported through `failed`;
  // `reload` works all the same.
  [[nodiscard]] static Result<std::unique_ptr<FileSource>> open(Reactor& reactor, std::string path, Config running,
                                                                Callbacks callbacks);
  ~FileSource();
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  // SIGHUP: reads the files even if they look unchanged, and calls `changed` or `failed`.
  void reload();
  // Workloads that this node knows of beside the file's: the pods that joined here. Makes a new snapshot, with
  // the same configuration, when they differ. May be called from inside `changed`, which is then called again with the newer.
  void set_local_workloads(std::vector<state::Workload> workloads);
  [[nodiscard]] const Config& config() const noexcept { return config_; }

 private:
  FileSource(std::string path, Config running, Callbacks callbacks);
  [[nodiscard]] bool has_files() const noexcept { return !path_.empty() || !config_.local_path.empty(); }
  void follow(Reactor& reactor, const std::string& path);
  // The configuration as it stands there, or nothing where that is what was read last.
  [[nodiscard]] Result<std::optional<Config>> read(bool is_asked_for);
  void read_files(bool is_asked_for);
  void take(Config wanted, bool is_asked_for);
  void failed(const Error& error, bool is_asked_for);
  [[nodiscard]] Result<void> publish(Config config);

  std::string path_;
  Config config_;  // in force
  Callbacks callbacks_;
  std::vector<state::Workload> local_;
  std::uint64_t version_ = 0;
  bool has_said_something_ = false;  // the file, when it was read before
  std::string last_text_;            // digest of what was read last, good or bad; empty: nothing could be
  std::string last_error_;
  std::vector<std::string> restart_keys_;
  std::vector<std::unique_ptr<FileWatch>> watches_;
};

}  // namespace culvert::control
