// SPDX-License-Identifier: Apache-2.0
#include "hbone/frame_meter.hpp"

#include <algorithm>

namespace culvert::hbone {
namespace {

enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr std::uint8_t kFlagEndStream = 0x1;
constexpr std::uint8_t kFlagAck = 0x1;
constexpr std::uint8_t kFlagPadded = 0x8;

}  // namespace

FrameMeter::FrameMeter(std::size_t skip, std::size_t header_block_bytes_max, std::uint64_t now_ms) noexcept
    : skip_(skip),
      header_block_bytes_max_(header_block_bytes_max),
      stray_(kStrayFrames, now_ms),
      settings_(kSettingsFrames, now_ms),
      pings_(kPingFrames, now_ms),
      ignored_(kIgnoredFrames, now_ms),
      empty_data_(kEmptyDataFrames, now_ms),
      window_updates_(kWindowUpdates, now_ms),
      padding_(kPaddingBytes, now_ms) {}

bool FrameMeter::scan(ByteView bytes, std::uint64_t now_ms) noexcept {
  while (!bytes.empty()) {
    if (expects_padding_) {
      expects_padding_ = false;
      if (!data_frame(std::size_t{bytes[0]} + 1, now_ms)) return false;
    }
    if (skip_ > 0) {
      const std::size_t count = std::min(skip_, bytes.size());
      skip_ -= count;
      bytes = bytes.subspan(count);
      continue;
    }
    const std::size_t count = std::min(kHeaderBytes - header_have_, bytes.size());
    std::copy_n(bytes.begin(), count, header_.begin() + static_cast<std::ptrdiff_t>(header_have_));
    header_have_ += count;
    bytes = bytes.subspan(count);
    if (header_have_ < kHeaderBytes) break;
    header_have_ = 0;
    skip_ = std::size_t{header_[0]} << 16U | std::size_t{header_[1]} << 8U | header_[2];
    if (!frame(now_ms)) return false;
  }
  return true;
}

bool FrameMeter::frame(std::uint64_t now_ms) noexcept {
  const std::uint8_t flags = header_[4];
  switch (header_[3]) {
    case kData:
      expects_padding_ = (flags & kFlagPadded) != 0 && skip_ > 0;
      return expects_padding_ || data_frame(0, now_ms);
    case kHeaders:
    case kPushPromise:
      header_block_bytes_ = skip_;
      continuations_ = 0;
      return header_block_bytes_ <= header_block_bytes_max_ && stray_.take(now_ms);
    case kContinuation:
      header_block_bytes_ += skip_;
      return header_block_bytes_ <= header_block_bytes_max_ && ++continuations_ <= kContinuationsMax;
    case kReset: return true;  // counted where the stream is known
    case kSettings: return (flags & kFlagAck) != 0 || settings_.take(now_ms);
    case kPing: return pings_.take(now_ms);
    case kWindowUpdate: return window_update(now_ms);
    default: return ignored_.take(now_ms);
  }
}

bool FrameMeter::window_update(std::uint64_t now_ms) noexcept {
  if (window_updates_owed_ == 0) return window_updates_.take(now_ms);
  --window_updates_owed_;
  return true;
}

// `padding` counts its length byte. What is longer than the frame is for nghttp2 to refuse.
bool FrameMeter::data_frame(std::size_t padding, std::uint64_t now_ms) noexcept {
  const std::size_t payload = skip_ - std::min(skip_, padding);
  padding_.give(payload * kPaddingPerDataByte);
  if (padding > 0 && !padding_.take(now_ms, padding)) return false;
  return payload > 0 || (header_[4] & kFlagEndStream) != 0 || empty_data_.take(now_ms);
}

}  // namespace culvert::hbone
