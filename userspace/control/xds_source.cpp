// SPDX-License-Identifier: Apache-2.0
#include "control/xds_source.hpp"

#include <utility>

namespace culvert::control {

XdsSource::XdsSource(const Config& config, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), store_(config.network), session_(store_, config.control_plane.is_on_demand) {
  store_.set_node(config.node_name);
  store_.set_policies_known(false);
  publish();
  XdsClient::Callbacks client;
  client.post = callbacks_.post;
  client.opened = [this] { return session_.begin(); };
  client.received = [this](XdsUpdate update) { return received(std::move(update)); };
  client.ended = [this](XdsEnd end, const std::string& why) { ended(end, why); };
  client_ = std::make_unique<XdsClient>(config.control_plane, config.node_name, config.cluster, std::move(client));
}

XdsSource::~XdsSource() = default;

void XdsSource::publish() { callbacks_.changed(store_.publish()); }

std::optional<XdsRequest> XdsSource::received(XdsUpdate update) {
  if (!is_connected_) {
    is_connected_ = true;
    last_error_.clear();
    callbacks_.connected();
  }
  const bool is_last = update.is_last;
  std::optional<XdsRequest> answer = session_.take(std::move(update));
  if (session_.is_warm()) store_.set_policies_known(true);
  if (is_last) publish();
  if (answer && !answer->error.empty() && std::exchange(last_refusal_, answer->error) != answer->error) {
    callbacks_.refused(answer->error);
  }
  return answer;
}

void XdsSource::ended(XdsEnd end, const std::string& why) {
  is_connected_ = false;
  const std::string text = why.empty() ? std::string(to_string(end)) : why;
  if (std::exchange(last_error_, text) != text) callbacks_.failed(text);
}

void XdsSource::set_local_workloads(const std::vector<state::Workload>& workloads) {
  std::unordered_map<std::string, state::Workload> wanted;
  for (state::Workload workload : workloads) {
    workload.uid = std::string(kLocalUid) + workload.uid;
    workload.is_provisional = true;
    std::string uid = workload.uid;
    wanted.insert_or_assign(std::move(uid), std::move(workload));
  }
  if (wanted == local_) return;
  for (const auto& [uid, workload] : local_) {
    if (!wanted.contains(uid)) static_cast<void>(store_.remove_workload(uid));
  }
  for (const auto& [uid, workload] : wanted) {
    if (const auto known = local_.find(uid); known == local_.end() || known->second != workload)
      store_.upsert(workload);
  }
  local_ = std::move(wanted);
  publish();
}

}  // namespace culvert::control
