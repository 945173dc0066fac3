// SPDX-License-Identifier: Apache-2.0
#include "tls/io_context.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "tls/aead_cache.hpp"
#include "tls/io_scratch.hpp"
#include "tls/peer_verifier.hpp"
#include "tls/pipe_pool.hpp"

namespace culvert::tls {
namespace {

// Returns the whole pages inside; they read as zeros when they are touched again.
void drop_pages(std::uint8_t* data, std::size_t size) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + size) / page * page;
  if (end > begin) static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED));
}

}  // namespace

IoContext::IoContext(BufferPool& pool, Engine engine)
    : pool_(pool),
      engine_(engine),
      aead_(std::make_unique<AeadCache>()),
      pipes_(std::make_unique<PipePool>()),
      verified_(std::make_unique<VerifiedPeers>()),
      scratch_(std::make_unique<Scratch>()) {}

IoContext::~IoContext() = default;

MutableBytes IoContext::plain_scratch() noexcept { return {scratch_->plain.get(), kBatchBytesMax}; }

void IoContext::trim() noexcept {
  segments_.clear();
  segments_.shrink_to_fit();
  aead_->clear();
  pipes_->trim();
  drop_pages(scratch_->plain.get(), kBatchBytesMax);
  drop_pages(scratch_->cipher.get(), Scratch::kAreaBytes);
  drop_pages(scratch_->received.get(), Scratch::kAreaBytes);
}

}  // namespace culvert::tls
