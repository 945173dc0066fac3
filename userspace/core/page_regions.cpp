// SPDX-License-Identifier: Apache-2.0
#include "core/page_regions.hpp"

#include <algorithm>

#include <sys/mman.h>

#include "base/assert.hpp"

namespace culvert {
namespace {

constexpr std::size_t kRegionBytes = PageRegions::kRegionPages * PageRegions::kPageBytes;

constexpr std::uint64_t mask_of(std::size_t pages, std::size_t first) noexcept {
  return ((std::uint64_t{1} << pages) - 1U) << first;
}

}  // namespace

PageRegions::~PageRegions() { CV_ASSERT(regions_.empty()); }

PageRegions::Block PageRegions::allocate(std::size_t bytes) {
  const std::size_t pages = bytes / kPageBytes;
  for (const auto& region : regions_) {
    for (std::size_t first = 0; first < kRegionPages; first += pages) {
      const std::uint64_t wanted = mask_of(pages, first);
      if ((region->used & wanted) != 0) continue;
      region->used |= wanted;
      return {region->memory + first * kPageBytes, region.get()};
    }
  }
  void* memory = ::mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {nullptr, nullptr};
  Region& made =
      *regions_.emplace_back(std::make_unique<Region>(Region{static_cast<std::uint8_t*>(memory), mask_of(pages, 0)}));
  return {memory, &made};
}

void PageRegions::free(Region* region, void* memory, std::size_t bytes) noexcept {
  const auto first = static_cast<std::size_t>(static_cast<std::uint8_t*>(memory) - region->memory) / kPageBytes;
  const std::uint64_t given_back = mask_of(bytes / kPageBytes, first);
  CV_ASSERT((region->used & given_back) == given_back);
  region->used &= ~given_back;
  if (region->used != 0) {
    ::madvise(memory, bytes, MADV_DONTNEED);
    return;
  }
  ::munmap(region->memory, kRegionBytes);
  std::erase_if(regions_, [region](const auto& one) { return one.get() == region; });
}

}  // namespace culvert
