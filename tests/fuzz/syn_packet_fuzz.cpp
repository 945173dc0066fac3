// SPDX-License-Identifier: Apache-2.0
// deps: culvert::base
// sources: userspace/proxy/syn_packet.cpp
// What a pod calls a SYN, and the three packets that are made of it: each is read again as what it is.
#include <cstddef>
#include <cstdint>

#include "base/assert.hpp"
#include "proxy/syn_packet.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using culvert::proxy::SynPacket;
  const auto syn = SynPacket::parse({data, size});
  if (!syn) return 0;
  culvert::proxy::FrameBuffer buffer;
  const auto again = SynPacket::parse(syn->make_again(buffer).subspan(culvert::proxy::kEthernetBytes));
  CV_ASSERT(again && again->source() == syn->source() && again->destination() == syn->destination());
  CV_ASSERT(syn->bytes().size() == size);
  const std::size_t ip_bytes = syn->source().address.is_v4() ? 20 : 40;
  CV_ASSERT(syn->make_reset(buffer).size() == culvert::proxy::kEthernetBytes + ip_bytes + 20);
  CV_ASSERT(syn->make_unreachable(buffer).size() == culvert::proxy::kEthernetBytes + ip_bytes + 8 + size);
  return 0;
}
