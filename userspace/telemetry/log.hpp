// SPDX-License-Identifier: Apache-2.0
// Log: the agent's lines on stdout, written by a thread of its own from a bounded queue; a full queue drops the newest line
// and counts it, so that logging never stalls a worker. Any thread may call it, none ever waits. No secret is passed to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/result.hpp"
#include "telemetry/connection_log.hpp"
#include "telemetry/log_filter.hpp"
#include "telemetry/log_format.hpp"

namespace culvert::telemetry {

class Log {
 public:
  struct Options {
    LogFilter filter{};
    Format format = Format::Plain;
    bool access_log = true;
    int fd = 1;                            // stays the caller's
    std::size_t queue_bytes = 256 * 1024;  // a power of two; touched only as far as lines go
  };
  [[nodiscard]] static Result<std::unique_ptr<Log>> start(const Options& options);
  // Writes what is queued, then ends its thread. A reader that stopped reading holds this up for a second at most.
  ~Log();

  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::Info, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::Warn, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    line(Level::Error, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (is_enabled(Level::Debug)) line(Level::Debug, fmt::format(format, std::forward<Args>(args)...));
  }
  void line(Level level, std::string_view message);
  // One line when a connection has ended; about a microsecond on the calling thread. False when it was dropped.
  bool connection(const ConnectionLog& connection);
  // The same when one has been opened, for whoever asked for level debug of `access`; ask tells_opened() before filling it in.
  bool connection_opened(const ConnectionLog& connection);
  // A line for whoever asked for level debug of `dns`.
  void dns(const DnsLog& question);
  // Lines of any sort that were lost: the queue was full, or they could not be written.
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  [[nodiscard]] bool is_enabled(Level level) const noexcept;
  [[nodiscard]] bool has_access_log() const noexcept;
  [[nodiscard]] bool tells_opened() const noexcept;
  void set_filter(const LogFilter& filter) noexcept;

 private:
  struct State;
  explicit Log(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::telemetry
