// SPDX-License-Identifier: Apache-2.0
// AgentDump: the agent's side of one /config_dump. It holds the snapshot, the local mesh and the certificates of the moment at which the dump began; what only
// the control plane's store knows is asked as it goes. Control thread; the agent outlives it.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "admin/dump_source.hpp"
#include "control/certificate_manager.hpp"
#include "control/config.hpp"
#include "control/xds_source.hpp"
#include "state/snapshot.hpp"
#include "tls/credentials.hpp"

namespace culvert::app {

class AgentDump final : public admin::DumpSource {
 public:
  // `xds` may be null: the mesh is what the file says.
  AgentDump(const control::Config& config, std::shared_ptr<const state::Snapshot> snapshot,
            const control::CertificateManager& certificates, const control::XdsSource* xds);

  [[nodiscard]] const state::Snapshot* snapshot() const override { return snapshot_.get(); }
  [[nodiscard]] std::optional<admin::DumpStaged> staged_after(const std::optional<ServiceName>& after) const override;
  [[nodiscard]] admin::DumpLocal local() const override {
    return {.workloads = local_->workloads, .services = local_->services, .policies = local_->policies};
  }
  [[nodiscard]] std::size_t identity_count() const override { return identities_.size(); }
  [[nodiscard]] admin::DumpIdentity identity(std::size_t index) const override;
  void write_version(admin::JsonWriter& json) const override;
  void write_config(admin::JsonWriter& json) const override;

 private:
  const control::Config& config_;
  control::SharedLocalMesh local_;
  std::shared_ptr<const state::Snapshot> snapshot_;
  std::vector<std::pair<control::CertificateStatus, std::shared_ptr<const tls::Credentials>>> identities_;
  const control::XdsSource* xds_;
};

}  // namespace culvert::app
