// SPDX-License-Identifier: Apache-2.0
#include "control/file_watch.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <utility>

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

namespace culvert::control {
namespace {

constexpr int kLinksMax = 40;  // as the kernel follows
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |
                                  IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

// Puts the components of `path` in front of what is still to be walked.
void push_components(std::deque<std::string>& todo, const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    if (end > at) parts.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  todo.insert(todo.begin(), parts.begin(), parts.end());
}

std::string parent_of(const std::string& directory) {
  const std::size_t slash = directory.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : directory.substr(0, slash);
}

}  // namespace

std::vector<std::string> deciding_directories(const std::string& path) {
  std::vector<std::string> found;
  const auto note = [&found](const std::string& directory) {
    if (std::ranges::find(found, directory) == found.end()) found.push_back(directory);
  };
  std::string here = "/";
  if (!path.starts_with('/')) {
    char working[PATH_MAX] = {};
    if (::getcwd(working, sizeof(working)) != nullptr) here = working;
  }
  std::deque<std::string> todo;
  push_components(todo, path);
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.front());
    todo.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      here = parent_of(here);
      continue;
    }
    const std::string next = (here == "/" ? "" : here) + "/" + part;
    struct stat status{};
    const bool exists = ::lstat(next.c_str(), &status) == 0;
    if (!exists || todo.empty() || S_ISLNK(status.st_mode)) note(here);
    if (!exists) break;
    if (!S_ISLNK(status.st_mode)) {
      here = next;
      continue;
    }
    char target[PATH_MAX] = {};
    if (++links > kLinksMax || ::readlink(next.c_str(), target, sizeof(target) - 1) <= 0) break;
    if (target[0] == '/') here = "/";
    push_components(todo, target);
  }
  return found;
}

Result<std::unique_ptr<FileWatch>> FileWatch::open(Reactor& reactor, std::string path, std::function<void()> changed) {
  UniqueFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return fail_errno(errno, "cannot watch {} for changes (fs.inotify.max_user_instances?)", path);
  const int fd = inotify.get();
  std::unique_ptr<FileWatch> watch(new FileWatch(reactor, std::move(path), std::move(changed), std::move(inotify)));
  FileWatch* const self = watch.get();
  if (auto watched = reactor.watch(fd, EPOLLIN, [self](std::uint32_t) { self->read_events(); }); !watched) {
    return std::unexpected(std::move(watched).error());
  }
  watch->watch_directories();
  return watch;
}

FileWatch::FileWatch(Reactor& reactor, std::string path, std::function<void()> changed, UniqueFd inotify)
    : reactor_(reactor), path_(std::move(path)), changed_(std::move(changed)), inotify_(std::move(inotify)) {}

FileWatch::~FileWatch() {
  reactor_.unwatch(inotify_.get());
  if (timer_) reactor_.cancel(*timer_);
}

void FileWatch::read_events() {
  // What happened does not matter, only that something did: names are compared by reading the file.
  alignas(inotify_event) char buffer[4'096];
  bool is_any = false;
  while (::read(inotify_.get(), buffer, sizeof(buffer)) > 0) is_any = true;
  if (!is_any) return;
  if (!timer_) timer_ = reactor_.after_ms(kSettleMs, [this] { settle(); });
}

void FileWatch::settle() {
  timer_.reset();
  watch_directories();
  changed_();
}

void FileWatch::watch_directories() {
  const std::vector<std::string> wanted = deciding_directories(path_);
  std::erase_if(watches_, [this, &wanted](const auto& watch) {
    if (std::ranges::find(wanted, watch.first) != wanted.end()) return false;
    ::inotify_rm_watch(inotify_.get(), watch.second);
    return true;
  });
  for (const std::string& directory : wanted) {
    // Adding again is harmless, and finds the directory that has taken an old one's name.
    const int watch = ::inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
    if (watch < 0) {
      watches_.erase(directory);
      continue;
    }
    const auto [place, is_new] = watches_.try_emplace(directory, watch);
    if (!is_new && place->second != watch) {
      ::inotify_rm_watch(inotify_.get(), place->second);
      place->second = watch;
    }
  }
}

}  // namespace culvert::control
