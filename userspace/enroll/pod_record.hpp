// SPDX-License-Identifier: Apache-2.0
// PodRecord: what stands in the state directory about one joined pod, enough for a restarted agent to find its namespace and
// put everything back. The codec is pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "core/netns.hpp"
#include "enroll/enroller.hpp"

namespace culvert::enroll {

inline constexpr std::size_t kPodRecordBytesMax = std::size_t{256} << 10U;

struct PodRecord {
  PodSpec spec;  // with the addresses in force
  std::uint32_t slot = 0;
  std::uint64_t netns_cookie = 0;  // tells whether what the path names today is what was joined
  NetnsId netns_id;                // finds the namespace among the processes when the path is gone
  bool is_leaving = false;         // a restarted agent finishes the leave
};

[[nodiscard]] std::string encode(const PodRecord& record);
[[nodiscard]] Result<PodRecord> decode_pod_record(std::string_view text);

// The limits of PodSpec, with the remedy in the text.
[[nodiscard]] Result<void> validate(const PodSpec& spec);

}  // namespace culvert::enroll
