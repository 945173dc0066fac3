// SPDX-License-Identifier: Apache-2.0
#include "tls/pipe_pool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/assert.hpp"

namespace culvert::tls {

void PipeReturner::operator()(Pipe* pipe) const noexcept {
  std::unique_ptr<Pipe> owned(pipe);
  PipePool& pool = *pipe->owner;
  --pool.lent_;
  if (pipe->bytes == 0 && pool.kept_.size() < PipePool::kKeptMax) pool.kept_.push_back(std::move(owned));
}

PipePool::~PipePool() { CV_ASSERT(lent_ == 0); }

PipeLease PipePool::lend() {
  if (lent_ >= kLentMax) return nullptr;
  if (!kept_.empty()) {
    PipeLease lease(kept_.back().release());
    kept_.pop_back();
    ++lent_;
    return lease;
  }
  kept_.reserve(kKeptMax);  // so that giving back never allocates
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return nullptr;
  auto pipe = std::make_unique<Pipe>();
  pipe->read_end = UniqueFd(ends[0]);
  pipe->write_end = UniqueFd(ends[1]);
  pipe->owner = this;
  // Refused beyond the user's pipe-user-pages limits: then whatever the pipe has is used.
  static_cast<void>(::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(kPipeBytes)));
  const int size = ::fcntl(ends[1], F_GETPIPE_SZ);
  pipe->capacity = size > 0 ? static_cast<std::size_t>(size) : 4096;
  ++lent_;
  return PipeLease(pipe.release());
}

}  // namespace culvert::tls
