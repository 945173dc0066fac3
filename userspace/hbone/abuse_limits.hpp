// SPDX-License-Identifier: Apache-2.0
// What a peer may waste on one HTTP/2 connection before it is ended with GOAWAY(ENHANCE_YOUR_CALM). A frame that moves no data costs the sender a
// few bytes and us some work; each kind has a token bucket that well-behaved peers, however busy, do not empty. docs/hbone.md has the table.
#pragma once

#include <cstddef>
#include <cstdint>

namespace culvert::hbone {

struct BucketLimit {
  std::uint32_t burst;       // tokens at the start, and at most
  std::uint32_t per_second;  // tokens that come back
};

// Streams that the client reset before we answered, or that broke a rule: the work of opening was wasted ("rapid reset", "made you reset").
// Applications behind one connection do reset before they are answered, by the thousand when they are restarted: a burst of ten times
// MAX_CONCURRENT_STREAMS, and a rate whose cost is a few hundredths of a core.
inline constexpr BucketLimit kWastedStreams = {2'000, 500};
// HEADERS and RST_STREAM for streams that are not there. Races make a few: one each for as many streams as are open.
inline constexpr BucketLimit kStrayFrames = {1'000, 100};
// SETTINGS make us look at every stream. Peers send one at the start, and rarely another.
inline constexpr BucketLimit kSettingsFrames = {20, 1};
// A keepalive sends one PING in ten seconds; those that measure the path with them send at most about ten in a second.
inline constexpr BucketLimit kPingFrames = {100, 20};
// PRIORITY, unknown types and GOAWAY: ignored, a handful at the start of a connection is normal ("greasing").
inline constexpr BucketLimit kIgnoredFrames = {100, 10};
// DATA without payload and without END_STREAM.
inline constexpr BucketLimit kEmptyDataFrames = {100, 10};
// 1xx answers. We ask for none.
inline constexpr BucketLimit kInterimAnswers = {100, 10};
// WINDOW_UPDATE: simple peers send two for each DATA frame they get (stream and connection), so those are on top.
inline constexpr BucketLimit kWindowUpdates = {10'000, 1'000};
inline constexpr std::uint32_t kWindowUpdatesPerDataFrame = 2;
// Openings of a window that had been used up by less than kTinyWindowBytes: each makes us seal and send a tiny frame.
inline constexpr BucketLimit kTinyWindows = {1'000, 100};
inline constexpr std::int32_t kTinyWindowBytes = 256;
// Bytes of padding. Padding with sense stays below a few times the data, which comes on top.
inline constexpr BucketLimit kPaddingBytes = {1U << 20U, 1U << 20U};
inline constexpr std::uint32_t kPaddingPerDataByte = 4;

// CONTINUATION frames of one header block. Header lists of 64 KiB need four.
inline constexpr std::size_t kContinuationsMax = 8;
// Header fields of one block; a CONNECT has about six.
inline constexpr std::size_t kHeaderFieldsMax = 128;
// A header list longer than was announced is refused with 400; this many times as long (an HPACK bomb) ends the connection.
inline constexpr std::size_t kHeaderListExcess = 4;
// SETTINGS entries in one frame.
inline constexpr std::size_t kSettingsEntriesMax = 32;
// What waits to be sent because the peer does not read, without payload: answers that the peer provoked.
inline constexpr std::size_t kControlBacklogBytesMax = 512U << 10U;

}  // namespace culvert::hbone
