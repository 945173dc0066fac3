// SPDX-License-Identifier: Apache-2.0
// The Agent and istio-cni: when it is asked for pods, and what is told of it.
#include "app/agent.hpp"

namespace culvert::app {

void Agent::open_zds() {
  zds_pods_ = std::make_unique<ZdsPods>(*pods_);
  zds_session_ = std::make_unique<control::ZdsSession>(*zds_pods_);
  control::ZdsClient::Callbacks callbacks;
  callbacks.connected = [this] { log_->info("istio-cni answers on {}", config_.zds.socket); };
  callbacks.lost = [this](const std::string& why) {
    log_->warn("no istio-cni, pods stay as they are; trying again: {}", why);
  };
  callbacks.not_started = [this](const std::string& why) { log_->error("{}", why); };
  // As ztunnel does it: another version's messages shall stop a roll-out, not be guessed at.
  callbacks.protocol_error = [this](const Error& error) {
    log_->error("istio-cni does not speak the protocol that this version speaks, ending: {}", error.message());
    exit_status_ = 1;
    reactor_->stop();
  };
  zds_ = std::make_unique<control::ZdsClient>(config_.zds.socket, *reactor_, *scheduler_, *zds_session_,
                                              std::move(callbacks));
  start_zds_when_warm();
}

void Agent::start_zds_when_warm() {
  if (zds_ != nullptr && snapshot_ != nullptr && (xds_ == nullptr || xds_->is_warm())) zds_->start();
}

}  // namespace culvert::app
