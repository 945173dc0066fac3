// SPDX-License-Identifier: Apache-2.0
#include "control/xds_source.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"
#include "control/local_exchange.hpp"

namespace culvert::control {

XdsSource::XdsSource(const Config& config, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), store_(config.network), session_(store_, config.control_plane.on_demand) {
  store_.set_node(config.node_name);
  store_.set_complete(false);
  exchange_local_mesh(store_, session_, *local_mesh_, *config.local);
  local_mesh_ = config.local;
  publish();
  XdsClient::Callbacks client;
  client.post = callbacks_.post;
  client.opened = [this] { return session_.begin(); };
  client.received = [this](const XdsUpdate& update) { return received(update); };
  client.ended = [this](XdsEnd end, const std::string& why) { ended(end, why); };
  client_ = std::make_unique<XdsClient>(config.control_plane, config.node_name, config.cluster, std::move(client));
}

XdsSource::~XdsSource() = default;

// Never the half of a response.
void XdsSource::publish() {
  if (!is_amid_response_) callbacks_.changed(store_.publish());
}

std::optional<XdsRequest> XdsSource::received(const XdsUpdate& update) {
  if (!is_connected_) {
    is_connected_ = true;
    last_error_.clear();
    callbacks_.connected();
  }
  const bool is_last = update.is_last;
  is_amid_response_ = !is_last;
  if (is_last && !XdsSession::knows_type(update.type_url)) note_unknown(update.type_url);
  changes_ += update.removed.size() + update.resources.size();
  std::optional<XdsRequest> answer = session_.take(update, monotonic_ms());
  if (!update.removed.empty()) restore_local_mesh(store_, session_, *local_mesh_, update.removed);
  if (session_.is_warm()) store_.set_complete(true);
  if (is_last) publish();
  if (session_.demands().has_questions()) ask_soon();
  if (answer && !answer->error.empty() && std::exchange(last_refusal_, answer->error) != answer->error) {
    callbacks_.refused(answer->error);
  }
  return answer;
}

// Each may be of another type: the number of lines has a bound, whatever they say.
void XdsSource::note_unknown(const std::string& type_url) {
  constexpr std::size_t kTypeBytesMax = 200;
  ++surprises_;
  const std::uint64_t now_ms = monotonic_ms();
  if (surprised_ms_ && now_ms - *surprised_ms_ < kSurpriseIntervalMs) return;
  surprised_ms_ = now_ms;
  const std::size_t others = std::exchange(surprises_, 0) - 1;
  callbacks_.surprised(fmt::format("a response of type \"{}\", which was never asked for{}",
                                   type_url.substr(0, kTypeBytesMax),
                                   others == 0 ? "" : fmt::format(" ({} more since the last such line)", others)));
}

void XdsSource::want(const std::string& name) {
  session_.want(name, monotonic_ms());
  if (session_.demands().has_questions()) ask_soon();
  tend_soon();
}

// With what else is wanted until then. Before the stream has answered its first requests may not have been written.
void XdsSource::ask_soon() {
  if (!is_connected_ || std::exchange(is_ask_due_, true)) return;
  const std::uint64_t now_ms = monotonic_ms();
  const std::uint64_t due_ms = std::max(now_ms, asked_ms_ + kAskIntervalMs);
  callbacks_.after(due_ms - now_ms, [this] {
    is_ask_due_ = false;
    ask();
  });
}

void XdsSource::ask() {
  if (!is_connected_) return;
  asked_ms_ = monotonic_ms();
  // It does not read: the table keeps what is wanted, and no request grows or is lost meanwhile.
  if (client_->backlog() >= kBacklogMax) return ask_soon();
  for (XdsRequest& request : session_.take_wishes()) client_->send(std::move(request));
}

void XdsSource::tend_soon() {
  if (session_.demands().is_empty() || std::exchange(is_tend_due_, true)) return;
  callbacks_.after(kTendIntervalMs, [this] {
    is_tend_due_ = false;
    if (session_.expire(monotonic_ms(), is_connected_)) publish();
    ask();
    tend_soon();
  });
}

void XdsSource::ended(XdsEnd end, const std::string& why) {
  is_connected_ = false;
  // No more of it comes, and each object stands for itself.
  if (std::exchange(is_amid_response_, false)) publish();
  const std::string text = why.empty() ? std::string(to_string(end)) : why;
  if (std::exchange(last_error_, text) != text) callbacks_.failed(text);
}

void XdsSource::set_local_mesh(const SharedLocalMesh& mesh) {
  if (mesh == local_mesh_) return;
  exchange_local_mesh(store_, session_, *local_mesh_, *mesh);
  local_mesh_ = mesh;
  publish();
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
