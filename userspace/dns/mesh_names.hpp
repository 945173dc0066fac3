// SPDX-License-Identifier: Apache-2.0
// What the mesh answers to a question of one of its pods: services by name, as ztunnel resolves them. Pure, over a snapshot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dns/message.hpp"
#include "state/snapshot.hpp"

namespace culvert::dns {

// A name that a question may mean.
struct Candidate {
  std::string name;
  std::string alias;  // not empty: the question's name without a search domain, of which this was made
  bool operator==(const Candidate&) const = default;
};
// In the order in which they are tried: the name, what Kubernetes' short forms make of it, then the same without each search domain of a pod
// in `namespace_name` ("NS.svc.DOMAIN", "svc.DOMAIN", "DOMAIN") that it ends in.
[[nodiscard]] std::vector<Candidate> candidates(std::string_view name, std::string_view namespace_name,
                                                std::string_view domain);

struct Client {
  std::string_view namespace_name;
  std::string_view network;
  std::string_view domain;  // of the cluster: "cluster.local"
};
struct Decision {
  bool is_forwarded = true;
  Answer answer;            // of what is not forwarded; addresses in no particular order
  std::string_view result;  // for people; static text
};
inline constexpr std::size_t kAddressesMax = 1'000;  // of one answer
[[nodiscard]] Decision decide(const state::Snapshot& snapshot, const Client& client, const Query& query);

}  // namespace culvert::dns
