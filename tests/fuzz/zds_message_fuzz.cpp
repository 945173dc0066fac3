// SPDX-License-Identifier: Apache-2.0
// deps: culvert::control
// What comes from istio-cni's socket: a packet and the number of descriptors beside it (the first byte). What is accepted is whole.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "control/zds_messages.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t descriptors = data[0] % 4;
  const std::string_view packet(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto request = culvert::control::parse_zds_request(packet, descriptors);
  if (!request) return 0;
  using Kind = culvert::control::ZdsRequest::Kind;
  CV_ASSERT(packet.size() <= culvert::control::kZdsPacketBytesMax);
  CV_ASSERT(descriptors == (request->kind == Kind::Add ? 1U : 0U));
  CV_ASSERT(request->kind == Kind::SnapshotSent || !request->workload.uid.empty());
  return 0;
}
