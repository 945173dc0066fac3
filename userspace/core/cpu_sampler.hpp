// SPDX-License-Identifier: Apache-2.0
// CpuSampler: where this process's threads spend their time. While one runs, a thread of its own sends a signal, at times that depend on nothing else, to
// each thread that has used the CPU since the last one; the handler notes its stack, unless it was asleep. That costs microseconds a sample. (The kernel's
// own timers of CPU time look at its tick only, which need not be independent of when a thread wakes up.)
//
// The handler allocates nothing and takes no lock (stack_walk.hpp).
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"

namespace culvert {

class CpuSampler {
 public:
  static constexpr std::uint32_t kFrequencyHzMax = 1'000;
  static constexpr std::size_t kBytesMax = std::size_t{16} << 20U;  // of samples; touched as far as there are any
  static constexpr std::size_t kDepthMax = 64;

  // `frequency_hz`: samples for each second of a thread that is busy, 1 to kFrequencyHzMax. ErrorCode::AlreadyExists: there is one in this process. Any
  // thread.
  [[nodiscard]] static Result<std::unique_ptr<CpuSampler>> start(std::uint32_t frequency_hz);
  // Stops, and gives the place free for another one.
  ~CpuSampler();
  CpuSampler(const CpuSampler&) = delete;
  CpuSampler& operator=(const CpuSampler&) = delete;

  // Afterwards no thread is in the handler. Twice is once.
  void stop() noexcept;
  // After `stop`: one sample behind the other, each {1, n, n program counters}, the innermost first; all but it are return addresses.
  [[nodiscard]] std::span<const std::uint64_t> words() const noexcept;
  // Samples that found no room in kBytesMax.
  [[nodiscard]] std::uint64_t lost() const noexcept;
  [[nodiscard]] std::uint32_t period_us() const noexcept { return period_us_; }

  // A thread that blocks every signal leaves those of the sampler and of its WalkGuard out.
  static void leave_out(sigset_t& blocked) noexcept {
    for (const int signal : {SIGPROF, SIGSEGV, SIGBUS}) ::sigdelset(&blocked, signal);
  }

  struct Recording;

 private:
  CpuSampler(std::unique_ptr<Recording> recording, std::uint32_t period_us);

  std::unique_ptr<Recording> recording_;
  std::uint32_t period_us_;
  bool is_running_ = false;
};

}  // namespace culvert
