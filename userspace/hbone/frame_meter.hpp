// SPDX-License-Identifier: Apache-2.0
// FrameMeter: reads the frame headers that pass by in front of nghttp2, and says when the peer wastes too much (abuse_limits.hpp). nghttp2 tells
// nothing of the frames that it ignores, and its own limits look at a wall clock; this sees every frame, and time is told to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "hbone/abuse_limits.hpp"
#include "hbone/token_bucket.hpp"

namespace culvert::hbone {

class FrameMeter {
 public:
  // `skip` bytes come before the first frame (the client's preface); a header block has at most `header_block_bytes_max` before decompression.
  FrameMeter(std::size_t skip, std::size_t header_block_bytes_max, std::uint64_t now_ms) noexcept;

  // The bytes as they arrive, in any portions. False: a limit was reached; the rest was not looked at.
  [[nodiscard]] bool scan(ByteView bytes, std::uint64_t now_ms) noexcept;
  // The HEADERS frame just scanned belongs to a stream.
  void headers_had_a_stream() noexcept { stray_.give(1); }
  // The RST_STREAM frame named no stream of ours.
  [[nodiscard]] bool stray_reset(std::uint64_t now_ms) noexcept { return stray_.take(now_ms); }
  // Pays for the WINDOW_UPDATE frames with which a simple peer answers it, whenever that is: a peer may read late, and then answer all at once.
  void data_frame_sent() noexcept { window_updates_owed_ += kWindowUpdatesPerDataFrame; }

 private:
  [[nodiscard]] bool frame(std::uint64_t now_ms) noexcept;
  [[nodiscard]] bool window_update(std::uint64_t now_ms) noexcept;
  [[nodiscard]] bool data_frame(std::size_t padding, std::uint64_t now_ms) noexcept;

  // A frame header, and with it the length of the padding, which is the first byte of the payload.
  static constexpr std::size_t kHeaderBytes = 9;
  std::array<std::uint8_t, kHeaderBytes> header_{};
  std::size_t header_have_ = 0;
  std::size_t skip_;  // payload bytes still to come
  bool expects_padding_ = false;

  std::size_t header_block_bytes_max_;
  std::size_t header_block_bytes_ = 0;
  std::size_t continuations_ = 0;

  TokenBucket stray_;
  TokenBucket settings_;
  TokenBucket pings_;
  TokenBucket ignored_;
  TokenBucket empty_data_;
  std::uint64_t window_updates_owed_ =
      0;                        // earned by our own frames, so that no peer can make it grow faster than we send
  TokenBucket window_updates_;  // those beyond
  TokenBucket padding_;
};

}  // namespace culvert::hbone
