// SPDX-License-Identifier: Apache-2.0
#include <fstream>

#include <catch2/catch.hpp>

#include "culvert/cni/mesh_file.hpp"
#include "membership.hpp"
#include "scripted_agent.hpp"

using namespace culvert;
using cni::Membership;
using cni_plugin::EnrolPolicy;

TEST_CASE("the plugin's own configuration decides where it can") {
  cni_plugin::NetConfig config;
  config.exclude_namespaces = {"kube-system"};
  config.enrol = EnrolPolicy::None;
  CHECK(cni_plugin::membership_by_config(config, {"a", "shop", ""}) == Membership::Outside);
  config.enrol = EnrolPolicy::All;
  CHECK(cni_plugin::membership_by_config(config, {"a", "shop", ""}) == Membership::Inside);
  CHECK(cni_plugin::membership_by_config(config, {"a", "kube-system", ""}) == Membership::Outside);
  CHECK(cni_plugin::membership_by_config(config, {}) == Membership::Inside);
  config.enrol = EnrolPolicy::Ask;
  CHECK(cni_plugin::membership_by_config(config, {"a", "shop", ""}) == Membership::Unknown);
  CHECK(cni_plugin::membership_by_config(config, {"a", "kube-system", ""}) == Membership::Outside);
}

TEST_CASE("without an agent the mesh file speaks, and its absence means nothing is known") {
  const testing::TempDir dir;
  cni_plugin::NetConfig config;
  config.agent_socket = dir.path("cni.sock");
  const cni::PodName pod{"cart", "shop", "default"};
  CHECK(cni_plugin::membership_without_agent(config, pod) == Membership::Unknown);
  std::ofstream(dir.path("mesh.json")) << "{ half a fi";
  CHECK(cni_plugin::membership_without_agent(config, pod) == Membership::Unknown);
  std::ofstream(dir.path("mesh.json"), std::ios::trunc) << cni::encode(cni::MeshFile{false, {"bank"}, {}, {}});
  CHECK(cni_plugin::membership_without_agent(config, pod) == Membership::Outside);
  CHECK(cni_plugin::membership_without_agent(config, {"a", "bank", ""}) == Membership::Inside);
}
