// SPDX-License-Identifier: Apache-2.0
// PageRegions: page-aligned blocks of 4 to 32 KiB, cut from mapped regions of 256 KiB, apart from the heap. What is given back leaves no
// hole between longer-lived allocations: its pages go back to the system at once, and a region without blocks is unmapped. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace culvert {

class PageRegions {
 public:
  static constexpr std::size_t kPageBytes = 4096;
  static constexpr std::size_t kRegionPages = 64;
  static constexpr std::size_t kBlockBytesMax = 8 * kPageBytes;

  struct Region {
    std::uint8_t* memory;
    std::uint64_t used;  // a bit for each page
  };
  struct Block {
    void* memory;    // null: the system has no more
    Region* region;  // to give it back by
  };

  PageRegions() = default;
  // Every block has been given back.
  ~PageRegions();
  PageRegions(const PageRegions&) = delete;
  PageRegions& operator=(const PageRegions&) = delete;

  // `bytes`: a power of two from kPageBytes to kBlockBytesMax.
  [[nodiscard]] Block allocate(std::size_t bytes);
  void free(Region* region, void* memory, std::size_t bytes) noexcept;
  [[nodiscard]] std::size_t regions() const noexcept { return regions_.size(); }

 private:
  std::vector<std::unique_ptr<Region>> regions_;
};

}  // namespace culvert
