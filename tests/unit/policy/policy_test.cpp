// SPDX-License-Identifier: Apache-2.0
// Peer authentication: who may reach a workload, by mode and identity.
#include "support.hpp"

namespace culvert::policy {
namespace {

using state::PeerAuthMode;

TEST_CASE("the verdict follows the mode in force and whether the client has an identity") {
  struct Row {
    const char* what;
    PeerAuthMode mesh;
    std::optional<PeerAuthMode> of_namespace;
    std::optional<PeerAuthMode> of_workload;
    bool has_identity;
    Decision decision;
  };
  const Row row = GENERATE(values<Row>({
      {"plaintext into PERMISSIVE", PeerAuthMode::Permissive, {}, {}, false, Decision::Allowed},
      {"mutual TLS into PERMISSIVE", PeerAuthMode::Permissive, {}, {}, true, Decision::Allowed},
      {"plaintext into STRICT", PeerAuthMode::Strict, {}, {}, false, Decision::NoIdentity},
      {"mutual TLS into STRICT", PeerAuthMode::Strict, {}, {}, true, Decision::Allowed},
      {"plaintext, the namespace is STRICT",
       PeerAuthMode::Permissive,
       PeerAuthMode::Strict,
       {},
       false,
       Decision::NoIdentity},
      {"plaintext, the namespace is PERMISSIVE",
       PeerAuthMode::Strict,
       PeerAuthMode::Permissive,
       {},
       false,
       Decision::Allowed},
      {"plaintext, the workload is STRICT", PeerAuthMode::Permissive, PeerAuthMode::Permissive, PeerAuthMode::Strict,
       false, Decision::NoIdentity},
      {"plaintext, the workload is PERMISSIVE", PeerAuthMode::Strict, PeerAuthMode::Strict, PeerAuthMode::Permissive,
       false, Decision::Allowed},
  }));
  CAPTURE(row.what);
  state::SnapshotBuilder builder;
  builder.set_mesh_mode(row.mesh);
  if (row.of_namespace) builder.set_namespace_mode("shop", *row.of_namespace);
  if (row.of_workload) builder.set_workload_mode("shop", "pay", *row.of_workload);
  const auto snapshot = std::move(builder).build(1);
  const RuleSet rules = RuleSet::find(*snapshot, nullptr, "shop", "pay");
  Call call;
  if (!row.has_identity) call.peer.clear();
  CHECK(call.verdict(rules, UnknownPolicy::IsSkipped).decision == row.decision);
}

TEST_CASE("every decision has words of its own") {
  CHECK(to_string(Decision::Allowed) == "allowed");
  CHECK_THAT(std::string(to_string(Decision::NoIdentity)), Catch::Contains("STRICT"));
  CHECK(to_string(Decision::ExplicitlyDenied) != to_string(Decision::NotAllowed));
  CHECK_THAT(std::string(to_string(Decision::Undecided)), Catch::Contains("not known"));
}

}  // namespace
}  // namespace culvert::policy
