// SPDX-License-Identifier: Apache-2.0
// Who may reach a workload, by mode and identity.
#include "policy/policy.hpp"

#include "state/snapshot_builder.hpp"

#include <catch2/catch.hpp>

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
    Verdict verdict;
  };
  const Row row = GENERATE(values<Row>({
      {"plaintext into PERMISSIVE", PeerAuthMode::Permissive, {}, {}, false, Verdict::Allow},
      {"mutual TLS into PERMISSIVE", PeerAuthMode::Permissive, {}, {}, true, Verdict::Allow},
      {"plaintext into STRICT", PeerAuthMode::Strict, {}, {}, false, Verdict::DenyNoIdentity},
      {"mutual TLS into STRICT", PeerAuthMode::Strict, {}, {}, true, Verdict::Allow},
      {"plaintext, the namespace is STRICT",
       PeerAuthMode::Permissive,
       PeerAuthMode::Strict,
       {},
       false,
       Verdict::DenyNoIdentity},
      {"plaintext, the namespace is PERMISSIVE",
       PeerAuthMode::Strict,
       PeerAuthMode::Permissive,
       {},
       false,
       Verdict::Allow},
      {"plaintext, the workload is STRICT", PeerAuthMode::Permissive, PeerAuthMode::Permissive, PeerAuthMode::Strict,
       false, Verdict::DenyNoIdentity},
      {"plaintext, the workload is PERMISSIVE", PeerAuthMode::Strict, PeerAuthMode::Strict, PeerAuthMode::Permissive,
       false, Verdict::Allow},
  }));
  CAPTURE(row.what);
  state::SnapshotBuilder builder;
  builder.set_mesh_mode(row.mesh);
  if (row.of_namespace) builder.set_namespace_mode("shop", *row.of_namespace);
  if (row.of_workload) builder.set_workload_mode("shop", "pay", *row.of_workload);
  const auto snapshot = std::move(builder).build(1);

  const SpiffeId client = SpiffeId::make("cluster.local", "shop", "cart").value();
  InboundRequest request;
  request.source = Endpoint::parse("10.0.0.1:4000").value();
  request.destination = Endpoint::parse("10.0.0.2:80").value();
  request.peer = row.has_identity ? &client : nullptr;
  request.namespace_name = "shop";
  request.workload_name = "pay";
  CHECK(evaluate(*snapshot, request) == row.verdict);
}

TEST_CASE("every verdict has words of its own") {
  CHECK(to_string(Verdict::Allow) == "allowed");
  CHECK_THAT(std::string(to_string(Verdict::DenyNoIdentity)), Catch::Contains("STRICT"));
}

}  // namespace
}  // namespace culvert::policy
