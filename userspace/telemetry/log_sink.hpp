// SPDX-License-Identifier: Apache-2.0
// LogSink: writes lines to the descriptor that the agent was given as its standard output, whatever it is (pipe, terminal,
// journald's socket, file), so that a reader who stops can delay the log writer but never keep the process from ending.
// Writer's thread only.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert::telemetry {

class LogSink {
 public:
  // How long a stuck reader may hold up the end of the process.
  static constexpr std::uint64_t kFlushMs = 1'000;
  static constexpr std::size_t kLinesMax = 64;  // in one call

  // `fd` stays the caller's; its file status flags are not touched (they are shared with other processes).
  [[nodiscard]] static Result<LogSink> open(int fd);

  // Writes all lines, kLinesMax at most, waiting for the reader. Once `is_stopping` is set (and `wake_fd` readable) it gives
  // up kFlushMs later. False when lines were lost.
  bool write(std::span<const std::string_view> lines, const std::atomic<bool>& is_stopping, int wake_fd);

 private:
  enum class Kind : std::uint8_t {
    NonBlocking,  // our own open file description of a pipe or terminal
    Socket,       // MSG_DONTWAIT
    Careful,  // a pipe that could not be opened again: wait for POLLOUT, then at most PIPE_BUF bytes, which never block
    Blocking,  // a file
  };
  LogSink(UniqueFd fd, Kind kind) : fd_(std::move(fd)), kind_(kind) {}

  // Bytes taken, or -errno.
  [[nodiscard]] long try_write(std::string_view* lines, std::size_t count) const;
  // False when it is time to give up.
  [[nodiscard]] bool wait_writable(const std::atomic<bool>& is_stopping, int wake_fd);

  UniqueFd fd_;
  Kind kind_;
  std::uint64_t give_up_ms_ = 0;  // 0: not stopping yet
};

}  // namespace culvert::telemetry
