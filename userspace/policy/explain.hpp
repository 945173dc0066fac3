// SPDX-License-Identifier: Apache-2.0
// Explain: what would happen to a connection by one snapshot, step by step, with the object that decided each. The decisions are those that connections
// get (state::route, policy::evaluate); this only tells them. Pure; for people, so it allocates as it likes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/trust_domains.hpp"
#include "policy/policy.hpp"
#include "state/snapshot.hpp"

namespace culvert::policy {

struct ExplainStep {
  std::string what;    // "source", "destination", "endpoints", "route", "tunnel", "policy", "verdict", ...
  std::string result;  // "ok", "no", "note": goes on, ends here, aside
  std::string text;    // a sentence
  std::string
      decided_by;  // "workload UID", "service NAMESPACE/HOSTNAME", "policy NAMESPACE/NAME", ...; empty: nobody in particular
};

struct Explanation {
  std::string outcome;  // "allowed", "denied", "refused", "not in the mesh", "undecided"
  std::vector<ExplainStep> steps;
};

// What decides beside the mesh: how its agents are set up.
struct ExplainOptions {
  const TrustDomains* trust_domains = nullptr;  // aliases of the local one; null: none
  std::string_view cluster_domain = "cluster.local";
  UnknownAnswer unknown = UnknownAnswer::Hold;
};

// `source`: an address, a uid, NAMESPACE/NAME, or the name of one workload. `destination`: ADDRESS:PORT, [ADDRESS]:PORT or HOSTNAME:PORT, where the hostname may
// be short as a Kubernetes client in the source's namespace writes it. NotFound: the source or the hostname is nobody's; InvalidArgument: not such a text.
[[nodiscard]] Result<Explanation> explain(const state::Snapshot& snapshot, std::string_view source,
                                          std::string_view destination, const ExplainOptions& options = {});

}  // namespace culvert::policy
