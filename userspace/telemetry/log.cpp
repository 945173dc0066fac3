// SPDX-License-Identifier: Apache-2.0
// Log; see log.hpp. A caller formats into a string that its thread keeps, and copies the line into the ring. The writer
// takes up to 64 lines per system call; after a burst it lingers some milliseconds before it wants to be woken, so that a
// busy agent pays one wake-up for many lines.
#include "telemetry/log.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <system_error>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "core/cpu_sampler.hpp"
#include "telemetry/log_ring.hpp"
#include "telemetry/log_sink.hpp"

namespace culvert::telemetry {
namespace {

constexpr int kLingerMs = 10;

enum class Writer : std::uint8_t { Awake, Lingering, Asleep };

}  // namespace

struct Log::State {
  State(const Options& options, std::unique_ptr<LogRing> lines, LogSink sink_, UniqueFd wake_fd)
      : format(options.format),
        access_log(options.access_log),
        access_limit(lines->capacity() - lines->capacity() / 8),  // the rest is kept for messages
        ring(std::move(lines)),
        sink(std::move(sink_)),
        wake(std::move(wake_fd)),
        level(options.filter.of_messages()),
        access_level(options.filter.of_access()),
        dns_level(options.filter.of_dns()) {}

  bool push(std::string_view line, std::size_t limit) noexcept;
  void wake_writer() noexcept;
  void run();
  bool write_queued();

  const Format format;
  const bool access_log;
  const std::size_t access_limit;
  std::unique_ptr<LogRing> ring;
  LogSink sink;
  UniqueFd wake;
  std::atomic<Level> level;         // of messages
  std::atomic<Level> access_level;  // of connections
  std::atomic<Level> dns_level;     // of questions to DNS
  std::atomic<Writer> writer{Writer::Awake};
  std::atomic<bool> is_stopping{false};
  std::atomic<std::uint64_t> dropped{0};
  std::thread thread;
};

bool Log::State::push(std::string_view line, std::size_t limit) noexcept {
  const std::size_t used = ring->push(line, limit);
  if (used == 0) {
    dropped.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  // Orders the published line before the look at `writer`; run() does the reverse.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const Writer seen = writer.load(std::memory_order_relaxed);
  if (seen == Writer::Awake || (seen == Writer::Lingering && used < ring->capacity() / 2)) return true;
  if (writer.exchange(Writer::Awake, std::memory_order_acq_rel) != Writer::Awake) wake_writer();
  return true;
}

void Log::State::wake_writer() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake.get(), &one, sizeof(one));
}

bool Log::State::write_queued() {
  std::array<std::string_view, LogSink::kLinesMax> space;
  bool has_written = false;
  while (true) {
    const auto lines = ring->peek(space);
    if (!lines.empty() && !sink.write(lines, is_stopping, wake.get())) {
      dropped.fetch_add(lines.size(), std::memory_order_relaxed);
    }
    ring->release();
    if (lines.empty()) return has_written;
    has_written = true;
  }
}

void Log::State::run() {
  ::pthread_setname_np(::pthread_self(), "culvert-log");
  while (true) {
    const bool is_last = is_stopping.load(std::memory_order_acquire);
    const bool has_written = write_queued();
    if (is_last) return;
    writer.store(has_written ? Writer::Lingering : Writer::Asleep, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool may_sleep = has_written || !ring->has_line();
    if (may_sleep) {
      pollfd event{.fd = wake.get(), .events = POLLIN, .revents = 0};
      ::poll(&event, 1, has_written ? kLingerMs : -1);
    }
    writer.store(Writer::Awake, std::memory_order_relaxed);
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake.get(), &count, sizeof(count));
  }
}

Log::Log(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Log>> Log::start(const Options& options) {
  auto ring = CV_TRY(LogRing::create(options.queue_bytes));
  auto sink = CV_TRY(LogSink::open(options.fd));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno(errno, "cannot make an eventfd for the log");
  auto state = std::make_unique<State>(options, std::move(ring), std::move(sink), std::move(wake));

  // Signals are the control thread's; SIGPIPE among them, so that a reader that went away is an EPIPE.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  CpuSampler::leave_out(all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    state->thread = std::thread([raw = state.get()] { raw->run(); });
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return fail_errno(error.code().value(), "cannot start the log writer's thread");
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::unique_ptr<Log>(new Log(std::move(state)));
}

Log::~Log() {
  state_->is_stopping.store(true, std::memory_order_release);
  state_->wake_writer();
  state_->thread.join();
}

void Log::line(Level level, std::string_view message) {
  if (!is_enabled(level)) return;
  std::string text;
  append_message_line(text, level, message, wall_us(), state_->format);
  state_->push(text, state_->ring->capacity());
}

bool Log::connection(const ConnectionLog& connection) {
  if (!state_->access_log || level_of(connection) < state_->access_level.load(std::memory_order_relaxed)) return true;
  // Each thread keeps one line's memory: formatting then allocates nothing.
  static thread_local std::string text;
  text.clear();
  append_access_line(text, connection, wall_us(), state_->format);
  return state_->push(text, state_->access_limit);
}

bool Log::connection_opened(const ConnectionLog& connection) {
  if (!tells_opened()) return true;
  std::string text;
  append_opened_line(text, connection, wall_us(), state_->format);
  return state_->push(text, state_->access_limit);
}

void Log::dns(const DnsLog& question) {
  if (state_->dns_level.load(std::memory_order_relaxed) > Level::Debug) return;
  std::string text;
  append_dns_line(text, question, wall_us(), state_->format);
  state_->push(text, state_->access_limit);
}

std::uint64_t Log::dropped() const noexcept { return state_->dropped.load(std::memory_order_relaxed); }
bool Log::is_enabled(Level level) const noexcept { return level >= state_->level.load(std::memory_order_relaxed); }
bool Log::has_access_log() const noexcept {
  return state_->access_log && state_->access_level.load(std::memory_order_relaxed) != Level::Off;
}
bool Log::tells_opened() const noexcept {
  return state_->access_log && state_->access_level.load(std::memory_order_relaxed) == Level::Debug;
}
void Log::set_filter(const LogFilter& filter) noexcept {
  state_->level.store(filter.of_messages(), std::memory_order_relaxed);
  state_->access_level.store(filter.of_access(), std::memory_order_relaxed);
  state_->dns_level.store(filter.of_dns(), std::memory_order_relaxed);
}

}  // namespace culvert::telemetry
