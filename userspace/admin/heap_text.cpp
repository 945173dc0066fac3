// SPDX-License-Identifier: Apache-2.0
#include "admin/heap_text.hpp"

#include <fmt/format.h>
#include <malloc.h>

namespace culvert::admin {

std::string heap_text() {
  const struct mallinfo2 all = ::mallinfo2();
  return fmt::format(
      "there are no heap profiles: the allocator is glibc's, which records no call stacks. Its sums, of the main "
      "arena:\n"
      "in use: {}\nfree: {}\nfrom the system: {}\nlarge blocks: {} in {}\n",
      all.uordblks, all.fordblks, all.arena, all.hblkhd, all.hblks);
}

}  // namespace culvert::admin
