// SPDX-License-Identifier: Apache-2.0
// deps: culvert::dns_answers
// What a pod sends to port 53, and what a server answers. What is understood can be answered within the client's size.
#include <cstddef>
#include <cstdint>

#include "base/assert.hpp"
#include "dns/mesh_names.hpp"
#include "dns/message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace culvert::dns;
  const culvert::ByteView packet(data, size);
  const auto passed = pass_on(packet, 7, 512);
  CV_ASSERT(passed.size() <= 512);
  const ParsedQuery parsed = parse_query(packet);
  if (parsed.state != QueryState::Good) return 0;
  CV_ASSERT(size >= kHeaderBytes + parsed.query.question_bytes && parsed.query.name.size() <= 255);
  Answer answer;
  if (parsed.query.is_plain) answer.alias = "web.shop";
  for (int i = 0; i < 40; ++i) answer.addresses.emplace_back();
  for (const Candidate& one : candidates(parsed.query.name, "shop", "cluster.local")) CV_ASSERT(one.name.size() < 600);
  const auto made = make_answer(packet, parsed.query, answer, parsed.query.udp_bytes_max);
  CV_ASSERT(made.size() <= parsed.query.udp_bytes_max);
  CV_ASSERT(made[0] == data[0] && made[1] == data[1] && (made[2] & 0x80) != 0);
  return 0;
}
