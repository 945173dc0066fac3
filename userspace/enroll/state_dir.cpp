// SPDX-License-Identifier: Apache-2.0
#include "enroll/state_dir.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include <dirent.h>
#include <unistd.h>

#include "culvert/cni/messages.hpp"
#include "enroll/atomic_file.hpp"

namespace culvert::enroll {
namespace {

constexpr std::string_view kRecordSuffix = ".json";
constexpr std::size_t kBootIdBytesMax = 64;

// File names that are `id` + `suffix` with a valid id; temporaries start with a dot and are none.
Result<std::vector<std::string>> list_ids(const std::string& directory, std::string_view suffix) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return fail_errno(errno, "cannot read {}", directory);
  std::vector<std::string> ids;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string_view name(entry->d_name);
    if (!name.ends_with(suffix)) continue;
    name.remove_suffix(suffix.size());
    if (cni::is_valid_id(name)) ids.emplace_back(name);
  }
  std::ranges::sort(ids);
  return ids;
}

}  // namespace

Result<StateDir> StateDir::open(const std::string& path, const std::string& boot_id) {
  for (const std::string& directory : {path, path + "/pods", path + "/" + cni::kTombstoneDir}) {
    CV_TRY(with_context(make_directory(directory, 0700), "the state directory"));
  }
  StateDir dir(path);
  CV_TRY(with_context(dir.leave_other_boot(boot_id), "the state directory"));
  return dir;
}

Result<void> StateDir::leave_other_boot(const std::string& boot_id) {
  const std::string path = path_ + "/boot_id";
  const auto known = read_small_file(path, kBootIdBytesMax);
  if (known && *known == boot_id) return {};
  // No file: the directory is new, or of an agent that kept none; then its records are taken for this boot's.
  if (known || known.error().code() != ErrorCode::NotFound) {
    for (const std::string& id : CV_TRY(list_ids(path_ + "/pods", kRecordSuffix))) CV_TRY(remove(id));
    for (const std::string& id : tombstones()) remove_tombstone(id);
  }
  return replace_file(path, boot_id, 0600);
}

std::string StateDir::record_path(const std::string& id) const {
  return fmt::format("{}/pods/{}{}", path_, id, kRecordSuffix);
}

Result<void> StateDir::write(const PodRecord& record) const {
  return replace_file(record_path(record.spec.id), encode(record), 0600);
}

Result<void> StateDir::remove(const std::string& id) const {
  const std::string path = record_path(id);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(errno, "cannot remove {}", path);
  return {};
}

Result<std::vector<StateDir::Loaded>> StateDir::load() const {
  std::vector<Loaded> loaded;
  for (std::string& id : CV_TRY(list_ids(path_ + "/pods", kRecordSuffix))) {
    const std::string path = record_path(id);
    const auto text = read_small_file(path, kPodRecordBytesMax);
    auto record =
        text ? with_context(decode_pod_record(*text), path) : Result<PodRecord>(std::unexpected(text.error()));
    if (record && record->spec.id != id) {
      record = fail(ErrorCode::InvalidArgument, "{} is the record of pod {}; remove the file", path, record->spec.id);
    }
    loaded.push_back({std::move(id), std::move(record)});
  }
  return loaded;
}

std::vector<std::string> StateDir::tombstones() const {
  return list_ids(fmt::format("{}/{}", path_, cni::kTombstoneDir), "").value_or(std::vector<std::string>());
}

void StateDir::remove_tombstone(const std::string& id) const noexcept {
  ::unlink(fmt::format("{}/{}/{}", path_, cni::kTombstoneDir, id).c_str());
}

Result<std::string> current_boot_id() {
  auto text = CV_TRY(read_small_file("/proc/sys/kernel/random/boot_id", kBootIdBytesMax));
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace culvert::enroll
