// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 records (RFC 8446 section 5) between bytes and bytes: seals a run of plaintext as records of 16 KiB, opens one
// record after the other into adjacent plaintext. Pure: no sockets, no clock; the caller gives key, buffer and room.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "tls/aead.hpp"
#include "tls/traffic_keys.hpp"

namespace culvert::tls {

inline constexpr std::size_t kRecordPlainBytesMax = 16384;
inline constexpr std::size_t kRecordOverheadBytes = kRecordHeaderBytes + 1 + kTagBytes;
// Header and payload. Section 5.4: content, type and padding are 2^14 + 1 bytes at most, and the AEADs here add the tag only.
inline constexpr std::size_t kRecordBytesMax = kRecordPlainBytesMax + kRecordOverheadBytes;

// Outer content types that arrive without protection; inside they are RecordType.
inline constexpr std::uint8_t kOuterApplicationData = 23;

// Bytes on the wire of `plain_bytes` of one type; nothing is one empty record.
[[nodiscard]] constexpr std::size_t sealed_bytes(std::size_t plain_bytes) noexcept {
  const std::size_t records = plain_bytes == 0 ? 1 : (plain_bytes + kRecordPlainBytesMax - 1) / kRecordPlainBytesMax;
  return plain_bytes + records * kRecordOverheadBytes;
}
// Records that `plain_bytes` make.
[[nodiscard]] constexpr std::uint64_t record_count(std::size_t plain_bytes) noexcept {
  return plain_bytes == 0 ? 1 : (plain_bytes + kRecordPlainBytesMax - 1) / kRecordPlainBytesMax;
}

// Seals `data` as records of inner type `type` at `out`, which has sealed_bytes(data.size()) bytes and does not overlap, and
// moves keys.sequence on. False when the library fails: then nothing at `out` may be sent.
[[nodiscard]] bool seal_records(Aead& aead, TrafficKeys& keys, std::uint8_t type, ByteView data,
                                std::uint8_t* out) noexcept;

enum class OpenStatus : std::uint8_t {
  Record,      // one record was opened
  Incomplete,  // more bytes are needed
  TooLong,     // record_overflow
  TooShort,    // no room for type and tag: decode_error
  NotSealed,   // an unprotected record, change_cipher_spec among them: unexpected_message after the handshake
  BadMac,      // bad_record_mac
  NoType,      // nothing but padding: unexpected_message
};

struct OpenedRecord {
  OpenStatus status = OpenStatus::Incomplete;
  std::uint8_t type = 0;           // inner content type
  std::size_t content_bytes = 0;   // at `out`, padding and type not counted
  std::size_t consumed_bytes = 0;  // of the input
};

// Opens the first record of `input` to `out` (as much room as the record has payload, not overlapping) and moves keys.sequence on.
[[nodiscard]] OpenedRecord open_record(Aead& aead, TrafficKeys& keys, ByteView input, std::uint8_t* out) noexcept;

}  // namespace culvert::tls
