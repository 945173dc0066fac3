// SPDX-License-Identifier: Apache-2.0
// LogFilter: which lines are written, in the terms of ztunnel's RUST_LOG: a level for everything and levels for scopes. The agent has three scopes:
// `culvert` (messages; `ztunnel` means the same), `access` (one line per connection) and `dns` (one per question of a pod). Pure values; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "telemetry/log_format.hpp"

namespace culvert::telemetry {

struct LogFilter {
  Level level = Level::Info;
  std::optional<Level> messages{};  // for that scope, in the place of `level`
  std::optional<Level> access{};
  std::optional<Level> dns{};

  [[nodiscard]] Level of_messages() const noexcept { return messages.value_or(level); }
  [[nodiscard]] Level of_access() const noexcept { return access.value_or(level); }
  [[nodiscard]] Level of_dns() const noexcept { return dns.value_or(level); }
  bool operator==(const LogFilter&) const = default;
};

// "info,access=off": what parse_directives reads.
[[nodiscard]] std::string to_string(const LogFilter& filter);

// `directives`: LEVEL or SCOPE=LEVEL, with commas between, on top of `filter`; a later one of the same scope counts. Levels are off, error,
// warn, info, debug and trace (which is debug here), or 0 to 5, in any case. A scope that the agent does not have, such as a module of
// ztunnel's, is accepted and changes nothing. The error names the directive that cannot be read.
[[nodiscard]] Result<LogFilter> apply_directives(LogFilter filter, std::string_view directives);

}  // namespace culvert::telemetry
