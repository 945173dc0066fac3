// SPDX-License-Identifier: Apache-2.0
// The Agent and certificates: where its own come from, which ones were taken back, what is told of them.
#include <algorithm>
#include <utility>

#include "app/agent.hpp"
#include "base/clock.hpp"
#include "control/istio_ca.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::app {
namespace {

std::string state_of(const tls::Revocation::ListInfo& list, std::int64_t now_s) {
  if (!list.is_vouched) return "not signed by a known issuer";
  if (list.next_update_s != 0 && list.next_update_s <= now_s) return "expired";
  return "in force";
}

std::int64_t now_s() { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

control::IstioCa::Options ca_options(const control::Config& config) {
  const control::ControlPlaneConfig& from = config.control_plane;
  control::IstioCa::Options options;
  options.endpoint.address = from.ca_address;
  options.endpoint.roots = from.ca_roots;
  options.endpoint.alternative_name = from.ca_alternative_name;
  options.endpoint.token = from.token;
  options.endpoint.cluster = config.cluster;
  options.endpoint.headers = from.ca_headers;
  options.lifetime_s = static_cast<std::int64_t>(from.certificate_lifetime_ms / 1'000);
  return options;
}

}  // namespace

Result<void> Agent::open_certificates() {
  scheduler_ = std::make_unique<control::ReactorScheduler>(*reactor_);
  if (!config_.control_plane.ca_address.empty()) {
    // The built-in CA's key is not even made: nobody but the control plane vouches for anybody.
    istio_ca_ = std::make_unique<control::IstioCa>(
        ca_options(config_), [this](std::function<void()> task) { queue_->post(std::move(task)); }, now_s);
  } else {
    ca_ = CV_TRY(
        with_context(tls::EmbeddedCa::open_or_create(config_.identity.embedded.directory), "opening the built-in CA"));
    embedded_source_ = std::make_unique<control::EmbeddedCaSource>(*ca_, config_.identity.embedded.lifetime_ms);
  }
  control::CertificateSource& source =
      istio_ca_ != nullptr ? static_cast<control::CertificateSource&>(*istio_ca_) : *embedded_source_;
  certificates_ = std::make_unique<control::CertificateManager>(
      source, *scheduler_,
      [this](const SpiffeId& identity, std::shared_ptr<const tls::Credentials> credentials) {
        know_issuers(credentials.get());
        // With the built-in CA the first one arrives inside `hold`, before the pod is with the workers.
        if (pods_ != nullptr) pods_->credentials_changed(identity);
      },
      [this](const SpiffeId& identity, const Error& error) {
        log_->error("no new certificate for {}: {}", identity.to_string(), error.message());
      });
  return {};
}

// Certificates of this node's workloads are there before their pods. With the built-in CA they cost nothing when the pod comes.
void Agent::warm_certificates() {
  if (xds_ == nullptr || istio_ca_ == nullptr) return;
  const state::Store::IdentityChanges changes = xds_->store().take_identity_changes();
  for (const SpiffeId& identity : changes.removed) certificates_->forget(identity);
  for (const SpiffeId& identity : changes.added) certificates_->warm(identity);
}

void Agent::open_revocation() {
  if (revocation_ == nullptr) return;
  control::RevocationFile::Callbacks callbacks;
  callbacks.changed = [this] {
    log_->info("{} revocation lists are in force", revocation_->lists().size());
    post_revocation_check_->run();
    tell_of_idle_lists();
  };
  callbacks.failed = [this](const Error& error) {
    const std::size_t lists = revocation_->lists().size();
    const bool is_refusing = lists == 0 && revocation_->fails_closed();
    log_->error("revocation lists were not taken over, {}: {}",
                is_refusing  ? "and every peer is refused until there are some"
                : lists == 0 ? "and there are none in force"
                             : fmt::format("the {} in force stay", lists),
                error.message());
  };
  revocation_file_ =
      control::RevocationFile::open(*reactor_, config_.identity.revocation.path, *revocation_, std::move(callbacks));
}

// So that lists of our own issuers count, and are known to count, before the first peer comes.
void Agent::know_issuers(const tls::Credentials* credentials) {
  if (revocation_ == nullptr || credentials == nullptr) return;
  for (const std::string* pem : {&credentials->roots_pem(), &credentials->chain_pem()}) {
    if (auto known = revocation_->know_issuers(*pem); !known) log_->warn("{}", known.error().message());
  }
  tell_of_idle_lists();
}

// A list that somebody published and that does nothing. Before our own issuers are known that says nothing.
void Agent::tell_of_idle_lists() {
  if (certificates_ == nullptr || certificates_->certificates().empty()) return;
  std::string issuers;
  for (const tls::Revocation::ListInfo& list : revocation_->lists()) {
    if (!list.is_vouched) issuers += (issuers.empty() ? "" : "; ") + list.issuer;
  }
  if (issuers == std::exchange(idle_lists_, issuers) || issuers.empty()) return;
  log_->warn(
      "revocation lists that count for nobody (no known issuer of that name has signed them, or its certificate lacks "
      "the key usage cRLSign): {}",
      issuers);
}

admin::Revocation Agent::revocation() const {
  admin::Revocation row;
  if (revocation_file_ == nullptr) return row;
  row.path = revocation_file_->path();
  row.fails_closed = revocation_->fails_closed();
  row.error = revocation_file_->error();
  for (const tls::Revocation::ListInfo& list : revocation_->lists()) {
    row.lists.push_back({list.issuer, list.entries, list.this_update_s, list.next_update_s, state_of(list, now_s())});
  }
  return row;
}

void Agent::add_revocation(telemetry::Families& families) const {
  const std::vector<tls::Revocation::ListInfo> lists = revocation_->lists();
  auto count = telemetry::gauge_family("culvert_crl_lists", "certificate revocation lists in force");
  telemetry::add(count, {}, static_cast<double>(lists.size()));
  families.push_back(std::move(count));
  auto entries = telemetry::gauge_family("culvert_crl_entries", "certificates that they take back");
  std::size_t total = 0;
  std::int64_t next_s = 0;
  for (const tls::Revocation::ListInfo& list : lists) {
    total += list.entries;
    if (list.next_update_s != 0) next_s = next_s == 0 ? list.next_update_s : std::min(next_s, list.next_update_s);
  }
  telemetry::add(entries, {}, static_cast<double>(total));
  families.push_back(std::move(entries));
  auto expiry = telemetry::gauge_family("culvert_crl_next_update_timestamp_seconds",
                                        "when the first of the lists in force expires, in Unix time; 0: never");
  telemetry::add(expiry, {}, static_cast<double>(next_s));
  families.push_back(std::move(expiry));
  auto failures = telemetry::counter_family("culvert_crl_reload_failures_total",
                                            "times that the file of revocation lists could not be taken over");
  telemetry::add(failures, {}, static_cast<double>(revocation_file_->failures()));
  families.push_back(std::move(failures));
}

}  // namespace culvert::app
