// SPDX-License-Identifier: Apache-2.0
#include "hbone/stream_table.hpp"

#include <utility>

#include "base/assert.hpp"

namespace culvert::hbone {

const StreamEntry* StreamTable::find(std::int32_t id) const noexcept {
  if (size_ == 0 || id <= 0) return nullptr;
  for (std::size_t at = home(id);; at = (at + 1) & (entries_.size() - 1)) {
    if (entries_[at].id == id) return &entries_[at];
    if (entries_[at].id == 0) return nullptr;  // one entry in four is free, so this ends
  }
}

StreamEntry* StreamTable::find(std::int32_t id) noexcept {
  return const_cast<StreamEntry*>(std::as_const(*this).find(id));
}

StreamEntry& StreamTable::insert(std::int32_t id) {
  CV_ASSERT(id > 0);
  if ((size_ + 1) * 4 > entries_.size() * 3) resize(entries_.empty() ? kEntriesMin : entries_.size() * 2);
  std::size_t at = home(id);
  while (entries_[at].id != 0) {
    CV_ASSERT(entries_[at].id != id);
    at = (at + 1) & (entries_.size() - 1);
  }
  entries_[at] = StreamEntry{.id = id};
  ++size_;
  return entries_[at];
}

bool StreamTable::erase(std::int32_t id) noexcept {
  StreamEntry* entry = find(id);
  if (entry == nullptr) return false;
  // Entries behind the gap that may not be cut off from their home move up; no tombstones.
  const std::size_t mask = entries_.size() - 1;
  auto gap = static_cast<std::size_t>(entry - entries_.data());
  for (std::size_t at = (gap + 1) & mask; entries_[at].id != 0; at = (at + 1) & mask) {
    if (((at - home(entries_[at].id)) & mask) >= ((at - gap) & mask)) {
      entries_[gap] = entries_[at];
      gap = at;
    }
  }
  entries_[gap] = StreamEntry{};
  --size_;
  return true;
}

std::vector<std::int32_t> StreamTable::ids() const {
  std::vector<std::int32_t> all;
  all.reserve(size_);
  for (const StreamEntry& entry : entries_) {
    if (entry.id != 0) all.push_back(entry.id);
  }
  return all;
}

void StreamTable::resize(std::size_t count) {
  std::vector<StreamEntry> before(count);
  before.swap(entries_);
  for (const StreamEntry& entry : before) {
    if (entry.id == 0) continue;
    std::size_t at = home(entry.id);
    while (entries_[at].id != 0) at = (at + 1) & (entries_.size() - 1);
    entries_[at] = entry;
  }
}

}  // namespace culvert::hbone
