// SPDX-License-Identifier: Apache-2.0
// process_*: what Prometheus' client libraries tell of a process, from /proc/self. Control thread.
#include "telemetry/metrics.hpp"

#include <array>
#include <charconv>
#include <ctime>
#include <optional>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace culvert::telemetry {
namespace {

std::string read_small(const char* path) {
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::array<char, 8192> text;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

// Field `number` of /proc/self/stat, counted from 1 as proc(5) does, for those behind the command's name.
std::optional<double> stat_field(std::string_view stat, int number) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  stat.remove_prefix(name_end + 1);
  for (int field = 2; field < number; ++field) {
    const std::size_t start = stat.find(' ');
    if (start == std::string_view::npos) return std::nullopt;
    stat.remove_prefix(start + 1);
  }
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(stat.data(), stat.data() + stat.size(), value);
  if (parsed.ec != std::errc()) return std::nullopt;
  return static_cast<double>(value);
}

std::optional<double> open_descriptors() {
  constexpr const char* kPath = "/proc/self/fd";
  struct stat status{};
  if (::stat(kPath, &status) == 0 && status.st_size > 0) return static_cast<double>(status.st_size);  // from 6.2
  DIR* directory = ::opendir(kPath);
  if (directory == nullptr) return std::nullopt;
  double count = -1;  // the descriptor of this very listing
  while (const dirent* entry = ::readdir(directory)) count += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(directory);
  return count;
}

// The wall clock's reading when the machine started.
double boot_time_s() {
  timespec since_boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &since_boot);
  const double uptime = static_cast<double>(since_boot.tv_sec) + static_cast<double>(since_boot.tv_nsec) / 1e9;
  return static_cast<double>(wall_us()) / 1e6 - uptime;
}

void append(Families& families, prometheus::MetricFamily family, std::optional<double> value) {
  if (!value) return;
  add(family, {}, *value);
  families.push_back(std::move(family));
}

}  // namespace

Families process_families() {
  Families families;
  append(families, gauge_family("process_open_fds", "open file descriptors"), open_descriptors());
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    append(families, gauge_family("process_max_fds", "limit of open file descriptors"),
           static_cast<double>(limit.rlim_cur));
  }
  const std::string stat = read_small("/proc/self/stat");
  const double ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto user = stat_field(stat, 14);
  const auto system = stat_field(stat, 15);
  if (user && system) {
    append(families, counter_family("process_cpu_seconds_total", "user and system CPU time"),
           (*user + *system) / ticks_per_second);
  }
  append(families, gauge_family("process_threads", "threads"), stat_field(stat, 20));
  append(families, gauge_family("process_virtual_memory_bytes", "virtual memory"), stat_field(stat, 23));
  if (const auto pages = stat_field(stat, 24)) {
    append(families, gauge_family("process_resident_memory_bytes", "resident memory"),
           *pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  }
  if (const auto started = stat_field(stat, 22)) {
    // Once: each reading of the two clocks gives another fraction, and alerts on restarts ask whether it changes.
    static const double start_s = boot_time_s() + *started / ticks_per_second;
    append(families, gauge_family("process_start_time_seconds", "start, Unix seconds"), start_s);
  }
  return families;
}

}  // namespace culvert::telemetry
