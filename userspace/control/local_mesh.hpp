// SPDX-License-Identifier: Apache-2.0
// LocalMesh: workloads, services and policies as ztunnel's LOCAL_XDS lists them, in YAML or JSON with the names of its configuration dump. They are
// part of the mesh beside what the file or the control plane says. Pure.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "state/authorization.hpp"
#include "state/service.hpp"
#include "state/workload.hpp"

namespace culvert::control {

struct LocalMesh {
  static constexpr std::size_t kBytesMax = std::size_t{64} << 20U;

  std::vector<state::Workload> workloads;
  std::vector<state::Service> services;
  std::vector<state::Authorization> policies;
  [[nodiscard]] bool is_empty() const noexcept { return workloads.empty() && services.empty() && policies.empty(); }
  bool operator==(const LocalMesh&) const = default;
};

// One that does not change any more, for all who read it; equal by content.
class SharedLocalMesh {
 public:
  SharedLocalMesh() : SharedLocalMesh(LocalMesh()) {}
  explicit SharedLocalMesh(LocalMesh mesh) : mesh_(std::make_shared<const LocalMesh>(std::move(mesh))) {}
  [[nodiscard]] const LocalMesh& operator*() const noexcept { return *mesh_; }
  [[nodiscard]] const LocalMesh* operator->() const noexcept { return mesh_.get(); }
  bool operator==(const SharedLocalMesh& other) const { return mesh_ == other.mesh_ || *mesh_ == *other.mesh_; }

 private:
  std::shared_ptr<const LocalMesh> mesh_;  // never null
};

// `trust_domain`: of workloads that do not say theirs. The error names the first mistake: "workloads[2].protocol is \"X\"; one of HBONE, TCP is
// wanted". Keys that are not known are mistakes: what a policy does not understand it must not pass over.
[[nodiscard]] Result<LocalMesh> local_mesh_from(std::string_view text, std::string_view trust_domain);

}  // namespace culvert::control
