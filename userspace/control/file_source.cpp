// SPDX-License-Identifier: Apache-2.0
#include "control/file_source.hpp"

#include <utility>

#include "control/config_fields.hpp"
#include "control/config_load.hpp"
#include "control/snapshot_build.hpp"

namespace culvert::control {
namespace {

// Enough to see that a file is the one that was read last; a collision only skips a reload, and SIGHUP reads in any case.
std::string digest(std::string_view text) {
  return fmt::format("{}/{:x}", text.size(), std::hash<std::string_view>{}(text));
}

}  // namespace

FileSource::FileSource(std::string path, Config running, Callbacks callbacks)
    : path_(std::move(path)), config_(std::move(running)), callbacks_(std::move(callbacks)) {}

FileSource::~FileSource() = default;

Result<std::unique_ptr<FileSource>> FileSource::open(Reactor& reactor, std::string path, Config running,
                                                     Callbacks callbacks) {
  std::unique_ptr<FileSource> source(new FileSource(std::move(path), std::move(running), std::move(callbacks)));
  if (auto published = source->publish(source->config_); !published)
    return std::unexpected(std::move(published).error());
  if (source->path_.empty()) return source;
  FileSource* const self = source.get();
  auto watch = FileWatch::open(reactor, source->path_, [self] { self->file_touched(); });
  if (watch) {
    source->watch_ = *std::move(watch);
  } else {
    watch.error().add_context("changes of the configuration wait for SIGHUP");
    source->callbacks_.failed(watch.error());
  }
  // What changed between the start's reading and the watch.
  self->file_touched();
  return source;
}

void FileSource::reload() {
  if (!path_.empty()) read_file(true);
}

void FileSource::file_touched() { read_file(false); }

void FileSource::read_file(bool is_asked_for) {
  const Result<std::string> text = read_config_text(path_);
  if (!text) {
    last_text_.clear();
    failed(text.error(), is_asked_for);
    return;
  }
  const std::string seen = digest(*text);
  if (!is_asked_for && seen == last_text_) return;
  last_text_ = seen;
  Result<Config> wanted = config_from_text(*text, path_);
  if (!wanted) {
    failed(wanted.error(), is_asked_for);
    return;
  }
  last_error_.clear();
  std::vector<std::string> waiting = restart_keys(config_, *wanted);
  Config effective = effective_config(config_, *std::move(wanted));
  // Equal: only comments, or what waits for a restart, or the very file that the agent has just started with.
  if (is_asked_for || effective != config_) {
    if (auto published = publish(std::move(effective)); !published) {
      failed(published.error(), is_asked_for);
      return;
    }
  }
  if (waiting != restart_keys_) {
    restart_keys_ = std::move(waiting);
    if (!restart_keys_.empty()) callbacks_.restart_needed(restart_keys_);
  }
}

void FileSource::failed(const Error& error, bool is_asked_for) {
  const std::string text = error.message();
  const bool is_news = text != std::exchange(last_error_, text);
  if (is_news || is_asked_for) callbacks_.failed(error);
}

Result<void> FileSource::publish(Config config) {
  auto snapshot = CV_TRY(with_context(build_snapshot(config, local_, version_ + 1), "building the snapshot"));
  ++version_;
  config_ = std::move(config);
  callbacks_.changed(config_, std::move(snapshot));
  return {};
}

void FileSource::set_local_workloads(std::vector<state::Workload> workloads) {
  if (workloads == local_) return;
  auto snapshot = build_snapshot(config_, workloads, version_ + 1);
  if (!snapshot) {
    snapshot.error().add_context("this node's own pods stay out of the snapshot");
    failed(snapshot.error(), true);
    return;
  }
  ++version_;
  local_ = std::move(workloads);
  // config_ is not touched: this may run inside `changed`, which reads it.
  callbacks_.changed(config_, *std::move(snapshot));
}

}  // namespace culvert::control
