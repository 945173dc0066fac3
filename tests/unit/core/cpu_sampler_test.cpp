// SPDX-License-Identifier: Apache-2.0
#include "core/cpu_sampler.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

#include <pthread.h>
#include <time.h>
#include <catch2/catch.hpp>

namespace culvert {
namespace {

volatile std::uint64_t sink = 0;

double thread_cpu_s() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

__attribute__((noinline)) void burn(double cpu_s) {
  const double end_s = thread_cpu_s() + cpu_s;
  while (thread_cpu_s() < end_s) {
    for (int i = 0; i < 10'000; ++i) sink = sink + 1;
  }
}

// The samples, in their form; each has at least its innermost function.
std::vector<std::vector<std::uint64_t>> samples_of(const CpuSampler& sampler) {
  std::vector<std::vector<std::uint64_t>> samples;
  std::span<const std::uint64_t> words = sampler.words();
  while (!words.empty()) {
    REQUIRE(words.size() >= 3);
    CHECK(words[0] == 1);
    const std::size_t depth = words[1];
    REQUIRE(depth >= 1);
    REQUIRE(depth <= CpuSampler::kDepthMax);
    REQUIRE(words.size() >= depth + 2);
    samples.emplace_back(words.begin() + 2, words.begin() + 2 + static_cast<std::ptrdiff_t>(depth));
    words = words.subspan(depth + 2);
  }
  return samples;
}

bool is_in(std::uint64_t counter, std::uint64_t function, std::uint64_t bytes) {
  return counter >= function && counter < function + bytes;
}

}  // namespace

TEST_CASE("what uses the CPU is seen, with its callers, on every thread") {
  auto sampler = CpuSampler::start(1'000).value();
  CHECK(sampler->period_us() == 1'000);
  std::thread other([] { burn(0.3); });
  burn(0.3);
  other.join();
  sampler->stop();
  const auto samples = samples_of(*sampler);
  CHECK(samples.size() > 20);  // 0.6 s by a clock of 100 Hz at least
  CHECK(sampler->lost() == 0);
  std::size_t seen = 0;
  std::size_t deep = 0;
  for (const auto& sample : samples) {
    const auto function = reinterpret_cast<std::uint64_t>(&burn);
    for (const std::uint64_t counter : sample) {
      if (!is_in(counter, function, 4'096)) continue;
      ++seen;
      if (sample.size() > 2) ++deep;
      break;
    }
  }
  CHECK(seen * 10 > samples.size() * 5);
  CHECK(deep > 0);
}

TEST_CASE("one at a time, and the next one begins anew") {
  {
    auto first = CpuSampler::start(100).value();
    const auto second = CpuSampler::start(100);
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == ErrorCode::AlreadyExists);
    first->stop();
    first->stop();
    CHECK_FALSE(CpuSampler::start(100));  // its samples are there still
  }
  auto next = CpuSampler::start(100).value();
  next->stop();
  CHECK(next->words().size() < 100);
}

TEST_CASE("whoever stops it does not wait for its period") {
  auto sampler = CpuSampler::start(1).value();
  burn(0.05);
  const auto began = std::chrono::steady_clock::now();
  sampler->stop();
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::milliseconds(300));
}

TEST_CASE("where no thread can be made there is no profile, and the place is free again") {
  pthread_attr_t before;
  REQUIRE(::pthread_getattr_default_np(&before) == 0);
  pthread_attr_t huge;
  REQUIRE(::pthread_attr_init(&huge) == 0);
  REQUIRE(::pthread_attr_setstacksize(&huge, std::size_t{1} << 60U) == 0);  // more than there are addresses for
  REQUIRE(::pthread_setattr_default_np(&huge) == 0);
  const auto refused = CpuSampler::start(100);
  REQUIRE(::pthread_setattr_default_np(&before) == 0);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("cannot start the thread") != std::string::npos);
  CHECK(refused.error().code() != ErrorCode::AlreadyExists);
  ::pthread_attr_destroy(&huge);
  ::pthread_attr_destroy(&before);
  CHECK(CpuSampler::start(100));
}

TEST_CASE("a signal that comes late ends nothing") {
  CpuSampler::start(100).value().reset();
  REQUIRE(::raise(SIGPROF) == 0);
  burn(0.05);
  SUCCEED("alive");
}

TEST_CASE("threads that come and go while it is started and stopped") {
  std::atomic<bool> is_done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&is_done] {
      while (!is_done) std::thread([] { burn(0.002); }).join();
    });
  }
  for (int i = 0; i < 30; ++i) {
    auto sampler = CpuSampler::start(1'000).value();
    burn(0.01);
    sampler->stop();
    static_cast<void>(samples_of(*sampler));
  }
  is_done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace culvert
