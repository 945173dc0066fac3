// SPDX-License-Identifier: Apache-2.0
#include "control/environment.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <thread>

#include <unistd.h>

#include "control/config_values.hpp"
#include "control/environment_reader.hpp"
#include "control/environment_tracing.hpp"
#include "control/grpc_channel.hpp"

namespace culvert::control {
namespace {

using Reader = EnvironmentReader;

constexpr std::uint64_t kDurationMaxNs = std::uint64_t{100} * 365 * 86'400 * 1'000'000'000;
constexpr std::string_view kDefaultAddressInCluster = "https://istiod.istio-system.svc:15012";

// A Kubernetes quantity of CPUs ("2", "1500m"), rounded up.
std::optional<std::uint32_t> cpus_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc() || !(value >= 0) || value > 1e6 || (!unit.empty() && unit != "m")) return std::nullopt;
  return static_cast<std::uint32_t>(std::ceil(unit == "m" ? value / 1'000 : value));
}

// ztunnel's rules; 0: nothing is said.
std::uint32_t workers_of(Reader& reader, const std::optional<std::uint32_t>& concurrency) {
  const auto quantity = [&reader](std::string_view name) -> std::uint32_t {
    const std::string* value = reader.find(name);
    if (value == nullptr || value->empty()) return 0;
    const std::optional<std::uint32_t> cpus = cpus_of(*value);
    if (!cpus) reader.wrong(name, *value, "a quantity of CPUs such as 2 or 1500m is wanted");
    return cpus.value_or(0);
  };
  const std::uint32_t limit = quantity("ZTUNNEL_CPU_LIMIT");
  const std::uint32_t cpus = limit != 0 ? limit : std::max(1U, std::thread::hardware_concurrency());
  if (const std::string* text = reader.find("ZTUNNEL_WORKER_THREADS"); text != nullptr && !text->empty()) {
    const bool is_share = text->ends_with('%');
    std::uint32_t value = 0;
    const char* last = text->data() + text->size() - (is_share ? 1 : 0);
    const auto [end, error] = std::from_chars(text->data(), last, value);
    if (error != std::errc() || end != last || value > (is_share ? 100U : 256U) || (is_share && value == 0)) {
      reader.wrong("ZTUNNEL_WORKER_THREADS", *text, "a number up to 256, or a share such as 25%, is wanted");
      return 0;
    }
    if (is_share) return std::max(1U, (cpus * value + 99) / 100);
    return value == 0 ? cpus : value;
  }
  if (concurrency) return *concurrency == 0 ? cpus : *concurrency;
  const std::uint32_t resource_limit = quantity("ZTUNNEL_RESOURCE_CPU_LIMIT");
  const std::uint32_t request = quantity("ZTUNNEL_RESOURCE_CPU_REQUEST");
  if (limit == 0 && resource_limit == 0 && request == 0) return 0;
  const std::uint32_t wanted =
      resource_limit != 0 ? std::max(resource_limit, request) : std::max({(cpus + 3) / 4, request, 2U});
  return std::min(wanted, 256U);
}

// Directives for single modules of ztunnel mean nothing here, and neither does one that cannot be read: what a line is worth is no reason
// not to start.
void read_log_filter(const Reader& reader, LogConfig& log) {
  const std::string* text = reader.find("RUST_LOG");
  if (text == nullptr) return;
  telemetry::LogFilter filter{.level = log.level};
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    if (const auto applied = telemetry::apply_directives(filter, one)) filter = *applied;
  }
  log.level = filter.level;
  log.message_level = filter.messages;
  log.access_level = filter.access;
  log.dns_level = filter.dns;
}

// ztunnel's words for units, in small letters. A year has 365 days and a month 30, as there.
std::optional<std::uint64_t> duration_unit_ns(std::string_view unit) {
  struct Unit {
    std::string_view name;
    std::uint64_t ns;
  };
  static constexpr std::uint64_t kSecond = 1'000'000'000;
  static constexpr std::uint64_t kDay = 86'400 * kSecond;
  static constexpr std::array<Unit, 24> kUnits = {{{"", kSecond},
                                                   {"s", kSecond},
                                                   {"sec", kSecond},
                                                   {"second", kSecond},
                                                   {"ns", 1},
                                                   {"nanosecond", 1},
                                                   {"us", 1'000},
                                                   {"µs", 1'000},
                                                   {"microsecond", 1'000},
                                                   {"ms", 1'000'000},
                                                   {"millisecond", 1'000'000},
                                                   {"m", 60 * kSecond},
                                                   {"min", 60 * kSecond},
                                                   {"minute", 60 * kSecond},
                                                   {"h", 3'600 * kSecond},
                                                   {"hour", 3'600 * kSecond},
                                                   {"d", kDay},
                                                   {"day", kDay},
                                                   {"w", 7 * kDay},
                                                   {"week", 7 * kDay},
                                                   {"mon", 30 * kDay},
                                                   {"month", 30 * kDay},
                                                   {"y", 365 * kDay},
                                                   {"year", 365 * kDay}}};
  std::string name(unit);
  make_lower(name);
  const auto found = std::ranges::find(kUnits, std::string_view(name), &Unit::name);
  return found == kUnits.end() ? std::nullopt : std::optional(found->ns);
}

void read_control_plane(Reader& reader, ControlPlaneConfig& to, const std::function<bool(const std::string&)>& exists) {
  const bool is_in_cluster = reader.find("KUBERNETES_SERVICE_HOST") != nullptr;
  if (is_in_cluster && to.xds_address.empty()) to.xds_address = kDefaultAddressInCluster;
  if (is_in_cluster && to.ca_address.empty()) to.ca_address = kDefaultAddressInCluster;
  reader.text("XDS_ADDRESS", to.xds_address);
  reader.text("CA_ADDRESS", to.ca_address);
  if (reader.boolean("FAKE_CA").value_or(false)) to.ca_address.clear();
  reader.text_unless_empty("XDS_ROOT_CA", to.xds_roots);
  reader.text_unless_empty("CA_ROOT_CA", to.ca_roots);
  reader.text("ALT_XDS_HOSTNAME", to.xds_alternative_name);
  reader.text("ALT_CA_HOSTNAME", to.ca_alternative_name);
  if (const std::string* token = reader.find("AUTH_TOKEN"); token != nullptr) {
    to.token = *token;
  } else if (to.token == ControlPlaneConfig().token && !exists(to.token)) {
    to.token.clear();
  }
  if (const auto value = reader.boolean("XDS_ON_DEMAND"); value) to.on_demand = *value;
  reader.duration("SECRET_TTL", to.certificate_lifetime_ms);
  reader.text_unless_empty("CLUSTER_DOMAIN", to.cluster_domain);
  to.xds_headers = reader.prefixed("XDS_HEADER_");
  to.ca_headers = reader.prefixed("CA_HEADER_");
  for (HeaderList* list : {&to.xds_headers, &to.ca_headers}) {
    for (auto& [name, value] : *list) make_lower(name);
  }
  to.metadata = reader.prefixed("ISTIO_META_");
  to.metadata_json = reader.prefixed("ISTIO_METAJSON_");
  reader.text("POD_NAME", to.pod_name);
  reader.text("POD_NAMESPACE", to.pod_namespace);
  reader.text("SERVICE_ACCOUNT", to.service_account);
  reader.text("INSTANCE_IP", to.instance_address);
}

// What the mesh says to every proxy, before what single variables say.
void apply_mesh(const MeshSettings& mesh, const ProxyConfig& proxy, Config& config) {
  if (!mesh.trust_domain.empty()) config.trust_domain = mesh.trust_domain;
  for (const std::string& alias : mesh.trust_domain_aliases) {
    if (std::ranges::find(config.trust_domain_aliases, alias) == config.trust_domain_aliases.end())
      config.trust_domain_aliases.push_back(alias);
  }
  if (proxy.discovery_address) config.control_plane.xds_address = *proxy.discovery_address;
  if (proxy.stats_port) {
    if (!config.admin.metrics) config.admin.metrics = AdminConfig().metrics;
    config.admin.metrics->port = *proxy.stats_port;
  }
  if (proxy.admin_port) config.admin.local_port = *proxy.admin_port;
}

void read_data_plane(Reader& reader, const ProxyConfig& proxy, Config& config) {
  if (const auto value = reader.boolean("AUTHZ_POLICY_INFO_LOGGING"); value) config.policy.log_matches = *value;
  reader.text("CRL_PATH", config.identity.revocation.path);
  reader.text("NETWORK", config.network);
  reader.text_unless_empty("NODE_NAME", config.node_name);
  reader.text_unless_empty("CLUSTER_ID", config.cluster);
  reader.text_unless_empty("ISTIO_META_CLUSTER_ID", config.cluster);
  reader.text_unless_empty("TRUST_DOMAIN", config.trust_domain);
  reader.number("PACKET_MARK", config.bpf.mark, 1, std::numeric_limits<std::uint32_t>::max());
  if (reader.boolean("INPOD_ENABLED").value_or(reader.find("INPOD_UDS") != nullptr)) {
    if (config.zds.socket.empty()) config.zds.socket = "/var/run/ztunnel/ztunnel.sock";
    reader.text_unless_empty("INPOD_UDS", config.zds.socket);
    config.dns.capture = true;
  }
  // ztunnel takes only "true" for yes. Workloads that are asked for one by one are not there to be found by name.
  if (const std::string* value = reader.find("ISTIO_META_DNS_CAPTURE"); value != nullptr) {
    config.dns.capture = *value == "true";
  }
  HboneConfig& hbone = config.tunnel.hbone;
  reader.number("HTTP2_STREAM_WINDOW_SIZE", hbone.stream_window, 65'535, std::uint64_t{1} << 30U);
  reader.number("HTTP2_CONNECTION_WINDOW_SIZE", hbone.connection_window, 65'535, std::uint64_t{1} << 30U);
  reader.number("HTTP2_FRAME_SIZE", hbone.frame_size, 16'384, std::uint64_t{8} << 20U);
  reader.number("POOL_MAX_STREAMS_PER_CONNECTION", hbone.streams_per_connection, 1, 65'535);
  if (const auto value = reader.boolean("ENABLE_RESPONSE_BAGGAGE"); value) hbone.response_baggage = *value;
  reader.duration("POOL_UNUSED_RELEASE_TIMEOUT", config.tunnel.pool.idle_timeout_ms);
  if (std::uint64_t seconds = 0; reader.find("CONNECTION_TERMINATION_DEADLINE") != nullptr) {
    reader.duration("CONNECTION_TERMINATION_DEADLINE", config.drain.timeout_ms);
  } else if (reader.find("TERMINATION_GRACE_PERIOD_SECONDS") != nullptr) {
    reader.number("TERMINATION_GRACE_PERIOD_SECONDS", seconds, 0, 1'000'000);
    config.drain.timeout_ms = std::max<std::uint64_t>(1, seconds > 10  ? seconds - 5
                                                         : seconds > 0 ? seconds - 1
                                                                       : 0) *
                              1'000;
  }
  if (const std::uint32_t workers = workers_of(reader, proxy.concurrency); workers != 0) config.workers = workers;
  if (const std::string* format = reader.find("LOG_FORMAT"); format != nullptr) {
    config.log.format = *format == "json" ? telemetry::Format::Json : telemetry::Format::Plain;
  }
  read_log_filter(reader, config.log);
  const bool is_in_cluster = !config.control_plane.xds_address.empty() || !config.zds.socket.empty();
  if (is_in_cluster && !config.admin.local_port) config.admin.local_port = AdminConfig::kLocalPort;
}

}  // namespace

Environment process_environment() {
  Environment environment;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::size_t equals = entry.find('=');
    if (equals != std::string_view::npos) environment.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return environment;
}

Result<std::uint64_t> parse_environment_duration_ms(std::string_view text) {
  const auto wrong = [text] {
    return fail(ErrorCode::InvalidArgument,
                "{} is not a duration such as 90, 180s, 1h30m, 250ms or 2w (a number alone is of seconds)",
                quoted(text));
  };
  std::uint64_t total_ns = 0;
  std::string_view rest = text;
  do {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error != std::errc()) return wrong();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const std::string_view unit = rest.substr(0, rest.find_first_of("0123456789+ "));
    rest.remove_prefix(unit.size());
    const auto unit_ns = duration_unit_ns(unit);
    if (!unit_ns || value > kDurationMaxNs / *unit_ns) return wrong();
    total_ns += value * *unit_ns;
    if (total_ns > kDurationMaxNs) return wrong();
    const std::size_t next = rest.find_first_not_of("+ ");
    if (next == std::string_view::npos && !rest.empty()) return wrong();
    // A number without its unit is one of seconds; what follows it is another only behind a plus sign.
    if (!rest.empty() && rest.substr(0, next).find('+') == std::string_view::npos && unit.empty()) return wrong();
    rest.remove_prefix(std::min(next, rest.size()));
  } while (!rest.empty());
  // What is shorter than a millisecond is one: 0 means "never" or "at once" in most places.
  return (total_ns + 999'999) / 1'000'000;
}

Result<void> apply_environment(Config& config, const Environment& environment,
                               const std::function<bool(const std::string&)>& exists, const MeshSettings& mesh) {
  Config changed = config;
  ProxyConfig proxy = mesh.proxy;
  if (const auto found = environment.find("PROXY_CONFIG"); found != environment.end()) {
    auto over = proxy_config_over(std::move(proxy), found->second);
    if (!over) {
      return fail(ErrorCode::InvalidArgument, "invalid env var PROXY_CONFIG={} ({})", quoted(found->second),
                  over.error().message());
    }
    proxy = *std::move(over);
  }
  apply_mesh(mesh, proxy, changed);
  // Metadata is as good as the variables of those names.
  Environment merged = environment;
  for (const auto& [name, value] : proxy.metadata) merged.try_emplace("ISTIO_META_" + name, value);
  Reader reader(merged);
  read_control_plane(reader, changed.control_plane, exists);
  if (const std::string* policy = reader.find("COMPLIANCE_POLICY"); policy != nullptr && *policy == "pqc") {
    reader.wrong("COMPLIANCE_POLICY", *policy,
                 "OpenSSL 3.0, which Culvert is built with, has no post-quantum key exchange; take the variable away");
  }
  read_data_plane(reader, proxy, changed);
  read_tracing(reader, changed.tracing);
  if (!reader.error().empty()) return fail(ErrorCode::InvalidArgument, "{}", reader.error());
  CV_TRY(with_context(check_grpc_address(changed.control_plane.xds_address),
                      "XDS_ADDRESS (or discoveryAddress of PROXY_CONFIG or the mesh configuration)"));
  CV_TRY(with_context(check_grpc_address(changed.control_plane.ca_address), "CA_ADDRESS"));
  if (changed.control_plane.on_demand && changed.dns.capture) {
    return fail(
        ErrorCode::InvalidArgument,
        "control_plane.on_demand (XDS_ON_DEMAND) and dns.capture are both true: names cannot be answered from a "
        "mesh that is not all there; set dns.capture to false (ISTIO_META_DNS_CAPTURE=false), or on_demand");
  }
  if (const std::string* text = reader.find("LOCAL_XDS"); text != nullptr && !text->empty()) {
    auto local = local_mesh_from(*text, changed.trust_domain);
    if (!local) return fail(ErrorCode::InvalidArgument, "invalid env var LOCAL_XDS ({})", local.error().message());
    changed.local = SharedLocalMesh(*std::move(local));
  }
  config = std::move(changed);
  return {};
}

}  // namespace culvert::control
