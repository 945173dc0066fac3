// SPDX-License-Identifier: Apache-2.0
// Walking a stack; see stack_walk.hpp. The unwinder is the compiler's own (libgcc), which finds tables without a lock since glibc 2.35.
#include "core/stack_walk.hpp"

#include <cerrno>
#include <csetjmp>
#include <csignal>

#include <unwind.h>

namespace culvert {
namespace {

struct Registers {
  std::uint64_t counter;
  std::uint64_t stack;
  std::uint64_t frame;
};

Registers registers_of(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  const auto at = [&context](int index) { return static_cast<std::uint64_t>(context.uc_mcontext.gregs[index]); };
  return {at(REG_RIP), at(REG_RSP), at(REG_RBP)};
#elif defined(__aarch64__)
  return {context.uc_mcontext.pc, context.uc_mcontext.sp, context.uc_mcontext.regs[29]};
#else
#error "stack_walk.cpp does not know this architecture's registers"
#endif
}

// Of this thread, while it walks.
thread_local sigjmp_buf* way_out = nullptr;
struct sigaction before_segv;
struct sigaction before_bus;

void on_fault(int signal) noexcept {
  if (way_out != nullptr) ::siglongjmp(*way_out, 1);
  // Not ours: the instruction is tried again, and its fault does what it always did.
  ::sigaction(signal, signal == SIGSEGV ? &before_segv : &before_bus, nullptr);
}

struct Walk {
  std::span<std::uint64_t> counters;
  std::uint64_t interrupted = 0;
  std::size_t depth = 1;
  bool has_reached = false;  // the interrupted function; the handler's own come first
  unsigned skipped = 0;      // of those; bounded, since unwind tables that lead in a circle must not hold the thread
};
constexpr unsigned kHandlerFramesMax = 16;

_Unwind_Reason_Code on_frame(_Unwind_Context* context, void* argument) {
  Walk& walk = *static_cast<Walk*>(argument);
  const auto counter = static_cast<std::uint64_t>(_Unwind_GetIP(context));
  if (!walk.has_reached) {
    walk.has_reached = counter == walk.interrupted;
    return ++walk.skipped > kHandlerFramesMax ? _URC_END_OF_STACK : _URC_NO_REASON;
  }
  if (counter == 0 || walk.depth == walk.counters.size()) return _URC_END_OF_STACK;
  walk.counters[walk.depth++] = counter;
  return _URC_NO_REASON;
}

// A frame is {the caller's frame, the return address}, and callers' frames lie above. A frame pointer that is something else leads astray within the
// stack at worst.
__attribute__((no_sanitize("address", "undefined"))) std::size_t walk_frames(
    const Registers& registers, std::uint64_t stack_end, std::span<std::uint64_t> counters) noexcept {
  constexpr std::uint64_t kFrameBytes = 2 * sizeof(std::uint64_t);
  std::size_t depth = 1;
  std::uint64_t above = registers.stack;
  std::uint64_t frame = registers.frame;
  while (depth < counters.size() && frame >= above && frame % sizeof(std::uint64_t) == 0 && stack_end >= kFrameBytes &&
         frame <= stack_end - kFrameBytes) {
    const auto* words = reinterpret_cast<const std::uint64_t*>(frame);
    if (words[1] < 4'096) break;
    counters[depth++] = words[1];
    above = frame + kFrameBytes;
    frame = words[0];
  }
  return depth;
}

}  // namespace

Result<void> WalkGuard::begin() {
  // The unwinder makes its own tables at the first call.
  static_cast<void>(_Unwind_Backtrace([](_Unwind_Context*, void*) { return _URC_NO_REASON; }, nullptr));
  struct sigaction action{};
  action.sa_handler = on_fault;
  ::sigemptyset(&action.sa_mask);
  const bool is_set =
      ::sigaction(SIGSEGV, &action, &before_segv) == 0 && ::sigaction(SIGBUS, &action, &before_bus) == 0;
  if (!is_set) return fail_errno(errno, "cannot handle SIGSEGV and SIGBUS");
  return {};
}

void WalkGuard::end() noexcept {
  ::sigaction(SIGSEGV, &before_segv, nullptr);
  ::sigaction(SIGBUS, &before_bus, nullptr);
}

// Such a call returns EINTR, or, where it is begun again, the thread stands before its instruction anew.
bool was_asleep(const ucontext_t& context) noexcept {
  const auto* code = reinterpret_cast<const std::uint8_t*>(registers_of(context).counter);
#if defined(__x86_64__)
  return context.uc_mcontext.gregs[REG_RAX] == -EINTR || (code[0] == 0x0f && code[1] == 0x05);
#else
  return static_cast<std::int64_t>(context.uc_mcontext.regs[0]) == -EINTR ||
         (code[0] == 0x01 && code[1] == 0x00 && code[2] == 0x00 && code[3] == 0xd4);
#endif
}

std::uint64_t stack_of(const ucontext_t& context) noexcept { return registers_of(context).stack; }

std::size_t walk_stack(const ucontext_t& context, std::uint64_t stack_end, std::span<std::uint64_t> counters) noexcept {
  const Registers registers = registers_of(context);
  counters[0] = registers.counter;
  sigjmp_buf out;
  // Volatile: read after a jump back into this frame.
  volatile std::size_t depth = 1;
  if (sigsetjmp(out, 1) == 0) {
    way_out = &out;
    Walk walk{.counters = counters, .interrupted = registers.counter};
    static_cast<void>(_Unwind_Backtrace(on_frame, &walk));
    depth = walk.depth;
    if (depth == 1) depth = walk_frames(registers, stack_end, counters);
  }
  way_out = nullptr;
  return depth;
}

}  // namespace culvert
