// SPDX-License-Identifier: Apache-2.0
#include "control/file_source.hpp"

#include <utility>

#include "control/config_fields.hpp"
#include "control/config_load.hpp"
#include "control/snapshot_build.hpp"
#include "control/text_file.hpp"

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
  if (!source->has_files()) return source;
  for (const std::string& one : {source->path_, source->config_.local_path}) source->follow(reactor, one);
  // What changed between the start's reading and the watch.
  source->read_files(false);
  return source;
}

void FileSource::follow(Reactor& reactor, const std::string& path) {
  if (path.empty()) return;
  auto watch = FileWatch::open(reactor, path, [this] { read_files(false); });
  if (watch) return watches_.push_back(*std::move(watch));
  watch.error().add_context(fmt::format("changes of {} wait for SIGHUP", path));
  callbacks_.failed(watch.error());
}

void FileSource::reload() {
  if (has_files()) read_files(true);
}

Result<std::optional<Config>> FileSource::read(bool is_asked_for) {
  const std::string before = std::exchange(last_text_, {});
  const std::string text = path_.empty() ? std::string() : CV_TRY(read_config_text(path_));
  // Once a file has said something, nothing is what a full disk leaves: it would take every pod out of the mesh.
  const bool is_empty = is_blank(text);
  if (is_empty && has_said_something_) {
    return fail(ErrorCode::InvalidArgument,
                "{}: the file is empty, which is taken for a mistake; write {{}} for the defaults", path_);
  }
  has_said_something_ = !is_empty;
  std::string seen = digest(text);
  if (!config_.local_path.empty()) seen += " " + digest(CV_TRY(read_local_text(config_.local_path)));
  last_text_ = std::move(seen);
  if (!is_asked_for && last_text_ == before) return std::nullopt;
  // Reads the second file once more. Where that has changed in the meantime, its watch tells.
  return CV_TRY(config_from_text(text, path_.empty() ? "defaults" : path_));
}

void FileSource::read_files(bool is_asked_for) {
  auto wanted = read(is_asked_for);
  if (!wanted) return failed(wanted.error(), is_asked_for);
  if (*wanted) take(**std::move(wanted), is_asked_for);
}

void FileSource::take(Config wanted, bool is_asked_for) {
  last_error_.clear();
  std::vector<std::string> waiting = restart_keys(config_, wanted);
  Config effective = effective_config(config_, std::move(wanted));
  // Equal: only comments, or what waits for a restart, or the very files that the agent has just started with.
  if (is_asked_for || effective != config_) {
    if (auto published = publish(std::move(effective)); !published) return failed(published.error(), is_asked_for);
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
