// SPDX-License-Identifier: Apache-2.0
// What there is to say in the place of a heap profile: glibc's allocator keeps no call stacks, only sums.
#pragma once

#include <string>

namespace culvert::admin {

// A line that says so, and the sums in bytes.
[[nodiscard]] std::string heap_text();

}  // namespace culvert::admin
