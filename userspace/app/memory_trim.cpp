// SPDX-License-Identifier: Apache-2.0
#include "app/memory_trim.hpp"

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>

#include <malloc.h>
#include <sys/mman.h>

namespace culvert::app {
namespace {

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool is_droppable = false;  // a file's, not writable; settled by its Private_Dirty line
};

// Pages that relocation has written to are private and dirty: dropping those would undo the relocation.
void drop_if_clean(const Mapping& mapping, unsigned long private_dirty_kib) noexcept {
  if (!mapping.is_droppable || private_dirty_kib != 0) return;
  ::madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED);
}

}  // namespace

void release_unused_pages() noexcept {
  ::malloc_trim(0);
  const std::unique_ptr<FILE, int (*)(FILE*)> smaps(std::fopen("/proc/self/smaps", "re"), std::fclose);
  if (smaps == nullptr) return;
  char line[512];
  Mapping mapping;
  while (std::fgets(line, sizeof(line), smaps.get()) != nullptr) {
    char permissions[5] = {};
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    unsigned long kib = 0;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, permissions) == 3) {
      const bool is_read_only = permissions[0] == 'r' && permissions[1] == '-' && permissions[3] == 'p';
      mapping = {begin, end, is_read_only && std::strchr(line, '/') != nullptr};
    } else if (std::sscanf(line, "Private_Dirty: %lu kB", &kib) == 1) {
      drop_if_clean(mapping, kib);
    }
  }
}

}  // namespace culvert::app
