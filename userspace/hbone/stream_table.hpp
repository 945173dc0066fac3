// SPDX-License-Identifier: Apache-2.0
// StreamTable: what the session keeps of each live stream, beside nghttp2's own record. Open addressing over 16-byte entries: stream numbers
// of one side are consecutive odd ones, so almost every look-up ends at its first entry, and an idle stream costs 16 to 32 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace culvert::hbone {

struct StreamEntry {
  std::int32_t id = 0;              // 0: free
  bool is_answered : 1 = false;     // server: 200 was submitted; client: the final answer arrived
  bool has_peer_ended : 1 = false;  // END_STREAM came
  bool has_ended : 1 = false;       // END_STREAM was submitted
  std::uint64_t user_word = 0;
};

class StreamTable {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Valid until the next insert or erase. Null: not there.
  [[nodiscard]] StreamEntry* find(std::int32_t id) noexcept;
  [[nodiscard]] const StreamEntry* find(std::int32_t id) const noexcept;
  // `id` > 0, not in the table.
  StreamEntry& insert(std::int32_t id);
  // False: it was not there.
  bool erase(std::int32_t id) noexcept;
  // The numbers of all, in no order.
  [[nodiscard]] std::vector<std::int32_t> ids() const;

 private:
  static constexpr std::size_t kEntriesMin = 8;

  [[nodiscard]] std::size_t home(std::int32_t id) const noexcept {
    return (static_cast<std::uint32_t>(id) >> 1U) & (entries_.size() - 1);
  }
  void resize(std::size_t count);

  std::vector<StreamEntry> entries_;  // a power of two, or empty
  std::size_t size_ = 0;
};

}  // namespace culvert::hbone
