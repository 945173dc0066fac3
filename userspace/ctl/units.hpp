// SPDX-License-Identifier: Apache-2.0
// Quantities as people read them. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace culvert::ctl {

// "0 B", "999 B", "1.0 KiB", "12.3 MiB", "1.0 TiB".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
// "250ms", "12s", "3m20s", "2h5m", "4d3h".
[[nodiscard]] std::string human_duration(std::uint64_t milliseconds);
// "2026-01-31 23:59:59Z" of Unix seconds.
[[nodiscard]] std::string human_time(std::int64_t unix_seconds);

}  // namespace culvert::ctl
