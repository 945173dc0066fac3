// SPDX-License-Identifier: Apache-2.0
#include "base/result.hpp"

#include <cstring>

namespace culvert {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::System: return "system";
    case ErrorCode::InvalidArgument: return "invalid_argument";
    case ErrorCode::NotFound: return "not_found";
    case ErrorCode::AlreadyExists: return "already_exists";
    case ErrorCode::PermissionDenied: return "permission_denied";
    case ErrorCode::Unavailable: return "unavailable";
    case ErrorCode::Unsupported: return "unsupported";
    case ErrorCode::ResourceExhausted: return "resource_exhausted";
    case ErrorCode::Protocol: return "protocol";
    case ErrorCode::Timeout: return "timeout";
  }
  return "unknown";
}

std::string Error::message() const {
  if (sys_errno_ == 0) return message_;
  return fmt::format("{}: {}", message_, ::strerrordesc_np(sys_errno_));
}

void Error::add_context(std::string_view context) { message_ = fmt::format("{}: {}", context, message_); }

}  // namespace culvert
