// SPDX-License-Identifier: Apache-2.0
// CpuSampler; see cpu_sampler.hpp. What is global here is so because a signal's handler is.
#include "core/cpu_sampler.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <dirent.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/stack_walk.hpp"

namespace culvert {
namespace {

struct Range {
  std::uint64_t begin;
  std::uint64_t end;
};

// The memory that stacks may be in, as it is now.
std::vector<Range> writable_ranges() {
  std::vector<Range> ranges;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return ranges;
  std::array<char, 4'096> line;
  while (std::fgets(line.data(), line.size(), maps) != nullptr) {
    unsigned long long begin = 0;
    unsigned long long end = 0;
    char mode[5] = {};
    if (std::sscanf(line.data(), "%llx-%llx %4s", &begin, &end, mode) != 3 || mode[0] != 'r' || mode[1] != 'w')
      continue;
    ranges.push_back({begin, end});
  }
  std::fclose(maps);
  return ranges;  // the kernel lists them in order
}

}  // namespace

struct CpuSampler::Recording {
  std::vector<Range> stacks;
  std::uint64_t* words = nullptr;
  std::size_t capacity = kBytesMax / sizeof(std::uint64_t);
  std::atomic<std::size_t> reserved{0};
  std::atomic<std::size_t> end{kBytesMax / sizeof(std::uint64_t)};  // of what is whole
  std::atomic<std::uint64_t> lost{0};
  std::atomic<bool> is_done{false};
  std::thread ticker;

  ~Recording() {
    if (words != nullptr) ::munmap(words, kBytesMax);
  }
  [[nodiscard]] std::uint64_t stack_end(std::uint64_t stack) const noexcept {
    const auto after = std::ranges::upper_bound(stacks, stack, {}, &Range::end);
    return after != stacks.end() && after->begin <= stack ? after->end : 0;
  }
  void take(std::span<const std::uint64_t> counters) noexcept {
    const std::size_t size = counters.size() + 2;
    const std::size_t at = reserved.fetch_add(size, std::memory_order_relaxed);
    if (at + size > capacity) {
      lost.fetch_add(1, std::memory_order_relaxed);
      std::size_t before = end.load(std::memory_order_relaxed);
      while (at < before && !end.compare_exchange_weak(before, at, std::memory_order_relaxed)) {}
      return;
    }
    words[at] = 1;
    words[at + 1] = counters.size();
    std::ranges::copy(counters, words + at + 2);
  }
};

namespace {

std::atomic<bool> is_taken{false};
std::atomic<CpuSampler::Recording*> current{nullptr};
std::atomic<std::uint32_t> inside{0};  // threads that are in the handler

void record(CpuSampler::Recording& recording, const ucontext_t& context) noexcept {
  if (was_asleep(context)) return;
  std::array<std::uint64_t, CpuSampler::kDepthMax> counters;
  const std::size_t depth = walk_stack(context, recording.stack_end(stack_of(context)), counters);
  recording.take({counters.data(), depth});
}

void on_tick(int, siginfo_t*, void* context) noexcept {
  const int saved = errno;
  inside.fetch_add(1);
  if (CpuSampler::Recording* recording = current.load()) record(*recording, *static_cast<const ucontext_t*>(context));
  inside.fetch_sub(1);
  errno = saved;
}

// The clock of a thread's CPU time, as the kernel numbers it (clock_getcpuclockid knows processes only).
clockid_t cpu_clock_of(pid_t thread) noexcept {
  return static_cast<clockid_t>(~static_cast<unsigned>(thread) << 3U | 6U);
}

std::uint64_t cpu_ns_of(pid_t thread) noexcept {
  timespec used{};
  if (::clock_gettime(cpu_clock_of(thread), &used) != 0) return 0;  // it has ended
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(used.tv_nsec);
}

// Signals to the threads of this process; runs until `is_done`.
class Ticker {
 public:
  Ticker(std::uint32_t period_us, const std::atomic<bool>& is_done) noexcept
      : period_us_(period_us), is_done_(is_done), self_(static_cast<pid_t>(::syscall(SYS_gettid))) {}

  void run() {
    for (std::uint32_t tick = 0; !is_done_.load(); ++tick) {
      if (tick % std::max(kListUs / period_us_, 1U) == 0) list_threads();
      for (auto& [thread, used_ns] : used_ns_) {
        const std::uint64_t now_ns = cpu_ns_of(thread);
        if (std::exchange(used_ns, now_ns) < now_ns) ::syscall(SYS_tgkill, ::getpid(), thread, SIGPROF);
      }
      sleep();
    }
  }

 private:
  static constexpr std::uint32_t kListUs = 100'000;  // between two looks at which threads there are

  void list_threads() {
    DIR* tasks = ::opendir("/proc/self/task");
    if (tasks == nullptr) return;
    std::map<pid_t, std::uint64_t> listed;
    while (const dirent* entry = ::readdir(tasks)) {
      const auto thread = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
      if (thread == 0 || thread == self_) continue;
      const auto known = used_ns_.find(thread);
      listed.emplace(thread, known == used_ns_.end() ? cpu_ns_of(thread) : known->second);
    }
    ::closedir(tasks);
    used_ns_.swap(listed);
  }
  // A quarter of the period more or less, so that it keeps step with nobody. In parts, because who stops it waits for it.
  void sleep() {
    constexpr std::uint64_t kPartUs = 20'000;
    std::uint64_t left_us = period_us_ - period_us_ / 4 + random_() % (period_us_ / 2 + 1);
    while (left_us > 0 && !is_done_.load()) {
      const std::uint64_t part_us = std::min(left_us, kPartUs);
      const timespec pause{.tv_sec = 0, .tv_nsec = static_cast<long>(part_us * 1'000U)};
      ::nanosleep(&pause, nullptr);
      left_us -= part_us;
    }
  }

  std::uint32_t period_us_;
  const std::atomic<bool>& is_done_;
  pid_t self_;
  std::map<pid_t, std::uint64_t> used_ns_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace

CpuSampler::CpuSampler(std::unique_ptr<Recording> recording, std::uint32_t period_us)
    : recording_(std::move(recording)), period_us_(period_us) {}

Result<std::unique_ptr<CpuSampler>> CpuSampler::start(std::uint32_t frequency_hz) {
  if (is_taken.exchange(true)) {
    return fail(ErrorCode::AlreadyExists, "another profile is being taken: try again when it has ended");
  }
  // From here on its destructor gives the place free.
  std::unique_ptr<CpuSampler> sampler(
      new CpuSampler(std::make_unique<Recording>(), 1'000'000 / std::clamp(frequency_hz, 1U, kFrequencyHzMax)));
  Recording& recording = *sampler->recording_;
  recording.stacks = writable_ranges();
  void* memory = ::mmap(nullptr, kBytesMax, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(errno, "cannot get {} bytes for samples", kBytesMax);
  recording.words = static_cast<std::uint64_t*>(memory);
  struct sigaction action{};
  action.sa_sigaction = on_tick;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGPROF, &action, nullptr) != 0) return fail_errno(errno, "cannot handle SIGPROF");
  CV_TRY(WalkGuard::begin());
  current.store(&recording);
  sampler->is_running_ = true;
  try {
    recording.ticker = std::thread([&recording, period_us = sampler->period_us_] {
      // It takes no signal of the process, as it takes none of its own.
      sigset_t all;
      ::sigfillset(&all);
      ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
      Ticker(period_us, recording.is_done).run();
    });
  } catch (const std::system_error& error) {
    return fail_errno(error.code().value(), "cannot start the thread that takes samples");
  }
  return sampler;
}

CpuSampler::~CpuSampler() {
  stop();
  is_taken.store(false);
}

void CpuSampler::stop() noexcept {
  if (!is_running_) return;
  is_running_ = false;
  recording_->is_done = true;
  if (recording_->ticker.joinable()) recording_->ticker.join();
  current.store(nullptr);
  while (inside.load() != 0) ::sched_yield();
  // Never the default, which ends the process: a signal may be on its way still.
  ::signal(SIGPROF, SIG_IGN);
  WalkGuard::end();
}

std::span<const std::uint64_t> CpuSampler::words() const noexcept {
  return {recording_->words, std::min(recording_->reserved.load(), recording_->end.load())};
}

std::uint64_t CpuSampler::lost() const noexcept { return recording_->lost.load(); }

}  // namespace culvert
