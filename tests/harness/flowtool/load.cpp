// SPDX-License-Identifier: Apache-2.0
#include "load.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/time.h>
#include <unistd.h>

namespace flowtool {
namespace {

void limit_reads(int fd, std::uint32_t ms) {
  const timeval limit{.tv_sec = ms / 1000, .tv_usec = static_cast<suseconds_t>(ms % 1000) * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

double percentile(const std::vector<double>& sorted, double share) {
  const auto index = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
  return sorted[index];
}

// One connect, byte, byte, close. Empty when it went well, else what failed.
std::string touch(const LoadOptions& options) {
  const int fd = connect_to(options.to, options.source, static_cast<int>(options.timeout_ms));
  if (fd < 0) return "connect: " + error_name(errno);
  limit_reads(fd, options.timeout_ms);
  std::array<std::uint8_t, 1> byte{0x5A};
  std::string failure;
  if (!send_all(fd, byte)) {
    failure = "send: " + error_name(errno);
  } else if (const ssize_t got = receive_all(fd, byte); got != 1) {
    failure = got == 0 ? "recv: EOF" : "recv: " + error_name(errno);
  }
  ::close(fd);
  return failure;
}

class Failures {
 public:
  void add(const std::string& what) {
    const std::scoped_lock hold(lock_);
    ++counts_[what];
  }
  [[nodiscard]] std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (const auto& [what, count] : counts_) sum += count;
    return sum;
  }
  [[nodiscard]] std::string json() const {
    std::string text = "{";
    for (const auto& [what, count] : counts_)
      text += fmt::format("{}\"{}\":{}", text.size() > 1 ? "," : "", what, count);
    return text + "}";
  }

 private:
  std::mutex lock_;
  std::map<std::string, std::uint64_t> counts_;
};

// Sends each connection its number and waits for it to come back.
void exchange_numbers(const std::vector<int>& fds, Failures& failures) {
  std::vector<std::uint8_t> is_sent(fds.size(), 0);
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (fds[i] < 0) continue;
    std::array<std::uint8_t, 8> number{};
    std::memcpy(number.data(), &i, sizeof number);
    is_sent[i] = send_all(fds[i], number) ? 1 : 0;
    if (is_sent[i] == 0) failures.add("send: " + error_name(errno));
  }
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (fds[i] < 0 || is_sent[i] == 0) continue;
    std::array<std::uint8_t, 8> number{};
    const ssize_t got = receive_all(fds[i], number);
    if (got < 0) {
      failures.add("recv: " + error_name(errno));
    } else if (got != 8 || std::memcmp(number.data(), &i, sizeof number) != 0) {
      failures.add(got == 8 ? "wrong bytes" : "recv: EOF");
    }
  }
}

}  // namespace

int measure_latency(const LoadOptions& options) {
  const int fd = connect_to(options.to, options.source, static_cast<int>(options.timeout_ms));
  if (fd < 0) {
    fmt::print("{{\"ok\":false,\"error\":\"connect: {}\"}}\n", error_name(errno));
    return 1;
  }
  limit_reads(fd, options.timeout_ms);
  std::vector<std::uint8_t> out(options.size, 0x61);
  std::vector<std::uint8_t> in(options.size);
  std::vector<double> times;
  times.reserve(options.count);
  const std::uint32_t warm_up = std::min(options.count / 10 + 1, 100U);
  for (std::uint32_t i = 0; i < options.count + warm_up; ++i) {
    const auto start = Clock::now();
    if (!send_all(fd, out) || receive_all(fd, in) != static_cast<ssize_t>(in.size())) {
      fmt::print("{{\"ok\":false,\"error\":\"round trip {}: {}\"}}\n", i, error_name(errno));
      ::close(fd);
      return 1;
    }
    if (i >= warm_up) times.push_back(seconds_since(start) * 1e6);
  }
  ::close(fd);
  std::sort(times.begin(), times.end());
  fmt::print(
      R"({{"ok":true,"count":{},"size":{},"p50":{:.1f},"p90":{:.1f},"p99":{:.1f},"p99_5":{:.1f},"min":{:.1f},"max":{:.1f}}})"
      "\n",
      times.size(), options.size, percentile(times, 0.5), percentile(times, 0.9), percentile(times, 0.99),
      percentile(times, 0.995), times.front(), times.back());
  return 0;
}

int measure_connects(const LoadOptions& options) {
  std::vector<double> connects;
  std::vector<double> answers;
  const std::uint32_t warm_up = std::min(options.count / 10 + 1, 200U);
  for (std::uint32_t i = 0; i < options.count + warm_up; ++i) {
    const auto start = Clock::now();
    const int fd = connect_to(options.to, options.source, static_cast<int>(options.timeout_ms));
    const double connected_us = seconds_since(start) * 1e6;
    std::array<std::uint8_t, 1> byte{0x5A};
    if (fd >= 0) limit_reads(fd, options.timeout_ms);
    if (fd < 0 || !send_all(fd, byte) || receive_all(fd, byte) != 1) {
      fmt::print("{{\"ok\":false,\"error\":\"connection {}: {}\"}}\n", i, error_name(errno));
      if (fd >= 0) ::close(fd);
      return 1;
    }
    if (i >= warm_up) {
      connects.push_back(connected_us);
      answers.push_back(seconds_since(start) * 1e6);
    }
    ::close(fd);
  }
  std::sort(connects.begin(), connects.end());
  std::sort(answers.begin(), answers.end());
  fmt::print(
      R"({{"ok":true,"count":{},"connect_p50":{:.1f},"connect_p99":{:.1f},"answer_p50":{:.1f},"answer_p99":{:.1f}}})"
      "\n",
      connects.size(), percentile(connects, 0.5), percentile(connects, 0.99), percentile(answers, 0.5),
      percentile(answers, 0.99));
  return 0;
}

int measure_rate(const LoadOptions& options) {
  std::atomic<std::uint64_t> done{0};
  Failures failures;
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < options.threads; ++i) {
    threads.emplace_back([&] {
      while (seconds_since(start) < options.seconds) {
        const std::string failure = touch(options);
        if (failure.empty()) {
          done.fetch_add(1, std::memory_order_relaxed);
        } else {
          failures.add(failure);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double elapsed = seconds_since(start);
  const std::uint64_t count = done.load();
  fmt::print(R"({{"ok":{},"count":{},"seconds":{:.3f},"per_second":{:.1f},"failures":{}}})"
             "\n",
             failures.total() == 0, count, elapsed, static_cast<double>(count) / elapsed, failures.json());
  return failures.total() == 0 ? 0 : 1;
}

int hold_many(const LoadOptions& options) {
  raise_descriptor_limit();
  Failures failures;
  std::vector<int> fds(options.count, -1);
  std::atomic<std::uint32_t> next{0};
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < std::max(options.threads, 1U); ++t) {
    threads.emplace_back([&] {
      for (std::uint32_t i = next.fetch_add(1); i < options.count; i = next.fetch_add(1)) {
        fds[i] = connect_to(options.to, options.source, static_cast<int>(options.timeout_ms));
        if (fds[i] < 0) {
          failures.add("connect: " + error_name(errno));
        } else {
          limit_reads(fds[i], options.timeout_ms);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double connected = seconds_since(start);
  exchange_numbers(fds, failures);
  fmt::print(R"({{"phase":"open","count":{},"connect_seconds":{:.3f},"seconds":{:.3f},"failures":{}}})"
             "\n",
             std::count_if(fds.begin(), fds.end(), [](int fd) { return fd >= 0; }), connected, seconds_since(start),
             failures.json());
  std::fflush(stdout);
  if (options.holds_until_stdin_ends) {
    char ignored = 0;
    while (::read(STDIN_FILENO, &ignored, 1) > 0) {}
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(options.hold_seconds));
  }
  exchange_numbers(fds, failures);
  for (const int fd : fds) {
    if (fd >= 0) ::close(fd);
  }
  fmt::print(R"({{"phase":"end","ok":{},"seconds":{:.3f},"failures":{}}})"
             "\n",
             failures.total() == 0, seconds_since(start), failures.json());
  return failures.total() == 0 ? 0 : 1;
}

}  // namespace flowtool
