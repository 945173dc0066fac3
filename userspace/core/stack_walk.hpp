// SPDX-License-Identifier: Apache-2.0
// Who called whom, from within a signal's handler: by the unwind tables of whatever code was interrupted, and where that has none (assembly of a library)
// by frame pointers, which our own code has. Allocates nothing and takes no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <ucontext.h>

#include "base/result.hpp"

namespace culvert {

// What a fault within a walk does while it lives: it ends that walk. Tables may be wrong, and a profile is not worth the process. A fault elsewhere ends
// the process as ever. One at a time.
class WalkGuard {
 public:
  // Also does what may be done once only and not from a handler. Before the first walk.
  [[nodiscard]] static Result<void> begin();
  static void end() noexcept;
};

// The interrupted thread's stack pointer.
[[nodiscard]] std::uint64_t stack_of(const ucontext_t& context) noexcept;

// Whether the signal ended a system call that slept: the thread used no CPU then.
[[nodiscard]] bool was_asleep(const ucontext_t& context) noexcept;

// Program counters, the innermost first; all but it are return addresses. Gives how many, at least one; `counters` has room for one. `stack_end`: frames
// lie below it; 0: unknown.
[[nodiscard]] std::size_t walk_stack(const ucontext_t& context, std::uint64_t stack_end,
                                     std::span<std::uint64_t> counters) noexcept;

}  // namespace culvert
