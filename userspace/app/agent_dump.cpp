// SPDX-License-Identifier: Apache-2.0
// AgentDump; see agent_dump.hpp.
#include "app/agent_dump.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "tls/certificate_list.hpp"

namespace culvert::app {
namespace {

std::vector<admin::DumpCertificate> listed(const std::string& pem) {
  std::vector<admin::DumpCertificate> rows;
  auto certificates = tls::list_certificates(pem);
  if (!certificates) return rows;  // it was read before, when it came
  for (tls::ListedCertificate& one : *certificates) {
    rows.push_back(
        {std::move(one.pem), std::move(one.serial_decimal), std::move(one.not_before), std::move(one.not_after)});
  }
  return rows;
}

std::string state_text(const control::CertificateStatus& status) {
  std::string text = control::to_string(status);  // "available" where ztunnel says "Available"
  if (!text.empty()) text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

// As ztunnel writes a duration.
void write_duration(admin::JsonWriter& json, std::string_view key, std::uint64_t duration_ms) {
  json.key(key)
      .begin_object()
      .field("secs", duration_ms / 1'000)
      .field("nanos", duration_ms % 1'000 * 1'000'000)
      .end_object();
}

void write_optional(admin::JsonWriter& json, std::string_view key, std::string_view text) {
  json.key(key);
  if (text.empty()) {
    json.null();
  } else {
    json.value(text);
  }
}

std::string endpoint_text(const std::optional<Endpoint>& endpoint) {
  return endpoint ? endpoint->to_string() : std::string();
}

}  // namespace

AgentDump::AgentDump(const control::Config& config, std::shared_ptr<const state::Snapshot> snapshot,
                     const control::CertificateManager& certificates, const control::XdsSource* xds)
    : config_(config), local_(config.local), snapshot_(std::move(snapshot)), xds_(xds) {
  for (control::CertificateStatus& status : certificates.certificates()) {
    auto current = certificates.current(status.identity);
    identities_.emplace_back(std::move(status), std::move(current));
  }
}

std::optional<admin::DumpStaged> AgentDump::staged_after(const std::optional<ServiceName>& after) const {
  if (xds_ == nullptr) return std::nullopt;
  const state::Store& store = xds_->store();
  const auto found = store.staged_after(after);
  if (!found) return std::nullopt;
  admin::DumpStaged staged{found->name.first, found->name.second, {}};
  for (const std::uint32_t workload : found->workloads) staged.workload_uids.emplace_back(store.uid(workload));
  return staged;
}

admin::DumpIdentity AgentDump::identity(std::size_t index) const {
  const auto& [status, credentials] = identities_[index];
  admin::DumpIdentity one{status.identity.to_string(), state_text(status), {}, {}};
  if (credentials == nullptr) return one;
  one.chain = listed(credentials->chain_pem());
  one.roots = listed(credentials->roots_pem());
  return one;
}

void AgentDump::write_version(admin::JsonWriter& json) const {
#ifdef NDEBUG
  const std::string_view profile = "release";
#else
  const std::string_view profile = "debug";
#endif
  const auto istio =
      std::ranges::find(config_.control_plane.metadata, "ISTIO_VERSION", [](const auto& one) { return one.first; });
  json.field("version", CULVERT_VERSION)
      .field("gitRevision", CULVERT_GIT_REVISION)
      .field("buildProfile", profile)
      .field("istioVersion",
             istio == config_.control_plane.metadata.end() ? std::string_view("unknown") : istio->second)
      .field("compiler", __VERSION__)
      .field("cryptoProvider", "openssl");
}

// What both agents have under ztunnel's names. Neither tokens nor the headers that are sent to the control plane, which may be as good as tokens.
void AgentDump::write_config(admin::JsonWriter& json) const {
  const control::ControlPlaneConfig& plane = config_.control_plane;
  const control::HboneConfig& hbone = config_.tunnel.hbone;
  json.field("proxy", true)
      .field("dnsProxy", config_.dns.capture)
      .field("windowSize", hbone.stream_window)
      .field("connectionWindowSize", hbone.connection_window)
      .field("frameSize", hbone.frame_size)
      .field("poolMaxStreamsPerConn", hbone.streams_per_connection);
  write_duration(json, "poolUnusedReleaseTimeout", config_.tunnel.pool.idle_timeout_ms);
  json.field("adminAddr", fmt::format("localhost:{}", config_.admin.local_port.value_or(0)));
  write_optional(json, "statsAddr", endpoint_text(config_.admin.metrics));
  write_optional(json, "readinessAddr", endpoint_text(config_.admin.readiness));
  json.field("network", config_.network)
      .field("localNode", config_.node_name)
      .field("proxyMode", "Shared")
      .field("clusterId", config_.cluster)
      .field("clusterDomain", plane.cluster_domain);
  write_optional(json, "caAddress", plane.ca_address);
  json.field("caRootCert", plane.ca_roots);
  write_optional(json, "altCaHostname", plane.ca_alternative_name);
  write_optional(json, "xdsAddress", plane.xds_address);
  json.field("xdsRootCert", plane.xds_roots);
  write_optional(json, "altXdsHostname", plane.xds_alternative_name);
  write_duration(json, "secretTtl", plane.certificate_lifetime_ms);
  json.field("xdsOnDemand", plane.on_demand).field("fakeCa", plane.ca_address.empty());
  write_duration(json, "selfTerminationDeadline", config_.drain.timeout_ms);
  json.key("proxyMetadata").begin_object();
  for (const auto& [name, value] : plane.metadata) json.field(name, value);
  json.end_object();
  json.field("numWorkerThreads", config_.workers).field("requireOriginalSource", true);
  write_optional(json, "inpodUds", config_.zds.socket);
  json.field("packetMark", config_.bpf.mark).field("trustDomain", config_.trust_domain);
}

}  // namespace culvert::app
