// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error, the way every fallible function off the data path answers.
//
//   Result<UniqueFd> open_it() {
//     const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
//     if (fd < 0) return fail_errno(errno, "cannot open {}", path);
//     return UniqueFd(fd);
//   }
//   auto fd = CV_TRY(open_it());                       // passes the error up
//   CV_TRY(with_context(load(), "loading the config"));  // one context per module edge
//
// The message is for the person who must act: what failed, with which value, and what to do.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace culvert {

enum class ErrorCode : std::uint8_t {
  System,           // a system call failed: sys_errno says how
  InvalidArgument,  // input is malformed; the text names the value and the remedy
  NotFound,
  AlreadyExists,
  PermissionDenied,
  Unavailable,        // try again later
  Unsupported,        // this kernel or build cannot do it
  ResourceExhausted,  // a limit was reached
  Protocol,           // a peer broke the protocol
  Timeout,
};

[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message, int sys_errno = 0)
      : message_(std::move(message)), sys_errno_(sys_errno), code_(code) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  // The errno of the failed system call, or 0.
  [[nodiscard]] int sys_errno() const noexcept { return sys_errno_; }
  // Outermost context first, joined with ": ", ending in the errno's text if there is one.
  [[nodiscard]] std::string message() const;
  // Puts one frame in front: what was being done when this happened.
  void add_context(std::string_view context);

 private:
  std::string message_;
  int sys_errno_;
  ErrorCode code_;
};

template <typename T>
using Result = std::expected<T, Error>;

template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected<Error>(Error(code, fmt::format(format, std::forward<Args>(args)...)));
}

// `saved_errno` is passed by value so that it is read in the statement that failed.
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail_errno(int saved_errno, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected<Error>(
      Error(ErrorCode::System, fmt::format(format, std::forward<Args>(args)...), saved_errno));
}

template <typename T>
[[nodiscard]] Result<T> with_context(Result<T>&& result, std::string_view context) {
  if (!result) result.error().add_context(context);
  return std::move(result);
}

}  // namespace culvert

// Unwraps a Result or returns its error from the enclosing function (a GNU statement expression).
#define CV_TRY(...)                                                               \
  ({                                                                              \
    auto cv_try_result = (__VA_ARGS__);                                           \
    if (!cv_try_result) return std::unexpected(std::move(cv_try_result).error()); \
    std::move(cv_try_result).value();                                             \
  })
