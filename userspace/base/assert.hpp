// SPDX-License-Identifier: Apache-2.0
// CV_ASSERT: a broken invariant of ours ends the process with its place. Always on; never used on input.
#pragma once

namespace culvert {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

#define CV_ASSERT(expression) \
  (static_cast<bool>(expression) ? static_cast<void>(0) : ::culvert::assertion_failed(#expression, __FILE__, __LINE__))
