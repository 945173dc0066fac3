// SPDX-License-Identifier: Apache-2.0
// The scratch memory of an IoContext, for the record layer's own files. Three areas, since they are in use at one time:
// plaintext of the caller, ciphertext of either direction, plaintext that a receive gave (segments point into it).
#pragma once

#include <memory>

#include "tls/io_context.hpp"
#include "tls/record_codec.hpp"

namespace culvert::tls {

struct IoContext::Scratch {
  // A full batch, a record that was cut at its start and one at its end, and room for control records before data.
  static constexpr std::size_t kAreaBytes = kBatchBytesMax + 4 * (kRecordBytesMax + kRecordOverheadBytes);
  static_assert(kAreaBytes > sealed_bytes(kBatchBytesMax) + 3 * kRecordBytesMax);

  std::unique_ptr<std::uint8_t[]> plain = std::make_unique_for_overwrite<std::uint8_t[]>(kBatchBytesMax);
  std::unique_ptr<std::uint8_t[]> cipher = std::make_unique_for_overwrite<std::uint8_t[]>(kAreaBytes);
  std::unique_ptr<std::uint8_t[]> received = std::make_unique_for_overwrite<std::uint8_t[]>(kAreaBytes);
};

}  // namespace culvert::tls
