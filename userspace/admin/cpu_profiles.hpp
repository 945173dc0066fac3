// SPDX-License-Identifier: Apache-2.0
// CpuProfiles: /debug/pprof/profile: samples for as long as was asked for, then a file that `go tool pprof` and google-pprof read (the format of
// gperftools: words, then the text of /proc/self/maps). One at a time; a client that goes away ends it. Control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "admin/http_server.hpp"
#include "core/cpu_sampler.hpp"
#include "core/reactor.hpp"

namespace culvert::admin {

class CpuProfiles {
 public:
  static constexpr std::uint32_t kSecondsMax = 300;
  static constexpr std::uint32_t kSecondsDefault = 10;
  static constexpr std::uint32_t kFrequencyDefault = 100;

  // `reactor` outlives the object.
  explicit CpuProfiles(Reactor& reactor) : reactor_(reactor) {}
  ~CpuProfiles();
  CpuProfiles(const CpuProfiles&) = delete;
  CpuProfiles& operator=(const CpuProfiles&) = delete;

  // `?seconds=` 1 to kSecondsMax, `?frequency=` 1 to CpuSampler::kFrequencyHzMax samples for each second of CPU time. 400 for anything else, 409 while
  // another one is taken or sent.
  void begin(const HttpRequest& request, const HttpReply& reply);

 private:
  void look();

  Reactor& reactor_;
  std::unique_ptr<CpuSampler> sampler_;  // null: none runs
  std::optional<HttpReply> reply_;
  std::uint64_t ends_ms_ = 0;  // monotonic
  Reactor::TimerId timer_ = 0;
};

}  // namespace culvert::admin
