// SPDX-License-Identifier: Apache-2.0
// Config: everything that the configuration file can say, as plain values. The empty file is a valid configuration: one machine,
// built-in CA, defaults as written here. Parsing reports every mistake it finds (up to kConfigErrorsMax) with file, line, column, key,
// value and remedy. Keys, ranges and what applies without a restart are declared once, in config_fields.cpp; docs/operations.md
// and docs/config.schema.json say the same and a test compares them. Control thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/answer_syn.hpp"
#include "base/default_paths.hpp"
#include "base/result.hpp"
#include "control/config_mesh.hpp"
#include "control/control_plane_config.hpp"
#include "control/local_mesh.hpp"
#include "control/tracing_config.hpp"
#include "telemetry/log.hpp"
#include "tls/engine_plan.hpp"

namespace culvert::control {

inline constexpr std::size_t kConfigErrorsMax = 20;
inline constexpr std::size_t kConfigBytesMax = std::size_t{64} << 20U;

enum class TunnelProtocol : std::uint8_t { Direct, Hbone };

[[nodiscard]] std::string_view to_string(TunnelProtocol protocol) noexcept;  // "direct", "hbone"

struct BpfConfig {
  std::string pin_dir = "/sys/fs/bpf/culvert";  // one per agent
  std::string cgroup;                           // cgroup2 mount; empty: found in /proc/self/mountinfo
  std::uint32_t mark = 0x539;
  std::uint32_t route_table = 1337;
  std::uint32_t rule_priority = 32764;
  bool tcx = true;           // false: clsact even where the kernel has tcx
  bool connect_hook = true;  // false: every flow is redirected at tc egress
  bool big_segments = true;  // false: lo keeps its segment size
  bool operator==(const BpfConfig&) const = default;
};

struct PoolConfig {
  std::uint64_t idle_timeout_ms = 90'000;
  std::uint32_t max_idle_per_peer = 128;  // 0: no tunnel is kept
  std::uint32_t direct_per_peer = 16;     // in use, of one worker; further flows share HBONE tunnels; 0: they never do
  bool operator==(const PoolConfig&) const = default;
};

struct HandshakeConfig {
  std::uint64_t timeout_ms = 10'000;
  std::uint32_t concurrency_per_worker = 1'024;
  std::uint32_t per_peer_rate = 2'000;  // handshakes started per second and source address; 0: no limit
  bool operator==(const HandshakeConfig&) const = default;
};

struct HboneConfig {
  std::uint64_t stream_window = std::uint64_t{4}
                                << 20U;  // bytes that a peer may send ahead of the reader, on one stream
  std::uint64_t connection_window = std::uint64_t{16} << 20U;  // likewise on all streams of a connection
  std::uint64_t frame_size = std::uint64_t{1} << 20U;          // the largest frame that a peer may send
  // That we open, where the peer allows as many: below the 200 that ztunnel and Culvert allow, since a connection costs some 20 KiB.
  std::uint32_t streams_per_connection = 180;
  std::uint32_t concurrent_streams = 200;  // that a peer may open
  std::uint32_t connections_per_peer = 4;  // of one worker, before it fills them to the limit
  std::uint64_t ping_interval_ms = 10'000;
  std::uint64_t ping_timeout_ms = 20'000;
  bool early_data = true;  // the application's first bytes go with CONNECT, before the answer
  bool response_baggage = true;
  bool operator==(const HboneConfig&) const = default;
};

struct TunnelConfig {
  std::vector<TunnelProtocol> offer = {TunnelProtocol::Direct, TunnelProtocol::Hbone};  // in order of preference
  PoolConfig pool;
  HandshakeConfig handshake;
  HboneConfig hbone;
  std::uint64_t connect_timeout_ms = 10'000;
  bool operator==(const TunnelConfig&) const = default;
};

struct RecordsConfig {
  tls::EngineChoice tx = tls::EngineChoice::Auto;
  tls::EngineChoice rx = tls::EngineChoice::Auto;
  tls::SpliceChoice splice = tls::SpliceChoice::Auto;
  bool operator==(const RecordsConfig&) const = default;
};

struct BuffersConfig {
  std::uint64_t bytes_per_worker_max = std::uint64_t{128} << 20U;
  bool operator==(const BuffersConfig&) const = default;
};

struct DrainConfig {
  std::uint64_t timeout_ms = 25'000;            // SIGTERM: how long live connections may go on
  std::uint64_t pod_leave_timeout_ms = 60'000;  // a pod that leaves the mesh
  bool operator==(const DrainConfig&) const = default;
};

struct AdminConfig {
  std::string socket;                       // empty in the file: RUN_DIR/admin.sock; always set in a parsed Config
  std::optional<Endpoint> metrics;          // null: off
  std::optional<Endpoint> readiness;        // null: off
  std::optional<std::uint32_t> local_port;  // on 127.0.0.1 and ::1; 0: off; null: kLocalPort in a cluster, else off
  static constexpr std::uint32_t kLocalPort = 15'000;

  AdminConfig();  // 0.0.0.0:15020 and 0.0.0.0:15021
  bool operator==(const AdminConfig&) const = default;
};

// Of Istio's traffic metrics.
struct MetricsConfig {
  std::uint32_t label_sets_max = 10'000;
  std::uint64_t label_expiry_ms = 15ULL * 60'000;
  bool operator==(const MetricsConfig&) const = default;
};

struct LogConfig {
  telemetry::Level level = telemetry::Level::Info;  // from the environment also off
  std::optional<telemetry::Level> access_level;   // from the environment only: of access lines, in the place of `level`
  std::optional<telemetry::Level> message_level;  // likewise of messages
  std::optional<telemetry::Level> dns_level;      // and of questions to DNS
  telemetry::Format format = telemetry::Format::Plain;
  bool access = true;
  bool operator==(const LogConfig&) const = default;
};

struct EmbeddedCaConfig {
  std::string directory;  // empty in the file: STATE_DIR/ca; always set in a parsed Config
  std::uint64_t lifetime_ms = 24ULL * 3'600'000;
  bool operator==(const EmbeddedCaConfig&) const = default;
};

struct RevocationConfig {
  std::string path;  // empty: nobody's certificate is taken back
  bool fails_closed = false;
  bool operator==(const RevocationConfig&) const = default;
};

struct IdentityConfig {
  EmbeddedCaConfig embedded;
  RevocationConfig revocation;
  bool operator==(const IdentityConfig&) const = default;
};

// What becomes of a connection to a workload that is not known, or that names a policy that is not.
enum class UnknownPolicies : std::uint8_t { Hold, Deny, Allow };

struct PolicyHandlingConfig {
  UnknownPolicies unknown = UnknownPolicies::Hold;
  std::uint64_t hold_timeout_ms = 5'000;
  bool log_matches = false;  // at level info and not debug
  bool operator==(const PolicyHandlingConfig&) const = default;
};

// Where pods come from that a stock istio-cni enrols.
struct ZdsConfig {
  std::string socket;  // istio-cni's; empty: none
  bool operator==(const ZdsConfig&) const = default;
};

struct DnsConfig {
  bool capture = false;  // the agent answers what a pod asks of DNS
  bool operator==(const DnsConfig&) const = default;
};

struct LimitsConfig {
  std::uint32_t connections_per_worker = 65'536;
  std::uint32_t open_files = 0;  // RLIMIT_NOFILE; 0: as high as the hard limit allows
  bool operator==(const LimitsConfig&) const = default;
};

// Traffic that stays as it is without a mesh.
struct Exclusions {
  std::vector<std::uint16_t> ports_inbound;
  std::vector<std::uint16_t> ports_outbound;
  std::vector<Cidr> cidrs_inbound;
  std::vector<Cidr> cidrs_outbound;
  bool operator==(const Exclusions&) const = default;
};

// Of every pod.
struct CaptureConfig {
  Exclusions exclude;
  AnswerSyn answer_syn = AnswerSyn::AtOnce;
  bool operator==(const CaptureConfig&) const = default;
};

// A pod that the agent joins by itself.
struct PodConfig {
  std::string id;     // as enroll::PodSpec::id
  std::string netns;  // absolute path
  std::string name;   // empty in the file: id; always set in a parsed Config
  std::string namespace_name = "default";
  std::string service_account = "default";
  std::vector<IpAddress> addresses;  // empty: taken from the namespace's devices
  Exclusions exclude;                // beside those of capture
  bool bypass_inbound = false;
  std::optional<AnswerSyn> answer_syn;  // nothing: as capture says
  bool operator==(const PodConfig&) const = default;
};

struct Config {
  std::string node_name;  // empty in the file: the host's name, filled in by load_config
  std::string cluster = "Kubernetes";
  std::string network;
  std::string trust_domain = "cluster.local";
  std::vector<std::string> trust_domain_aliases;
  std::string state_dir = kDefaultStateDir;
  std::string run_dir = kDefaultRunDir;
  std::string node_netns;     // path; empty: the agent's own
  std::uint32_t workers = 0;  // 0 in the file: the CPUs allotted, filled in by load_config
  // Null in the file: by default_busy_wait_us(), filled in by load_config.
  std::optional<std::uint32_t> busy_wait_us;
  BpfConfig bpf;
  TunnelConfig tunnel;
  RecordsConfig records;
  BuffersConfig buffers;
  DrainConfig drain;
  AdminConfig admin;
  MetricsConfig metrics;
  TracingConfig tracing;
  LogConfig log;
  IdentityConfig identity;
  ControlPlaneConfig control_plane;
  PolicyHandlingConfig policy;
  ZdsConfig zds;
  DnsConfig dns;
  LimitsConfig limits;
  CaptureConfig capture;
  MeshConfig mesh;
  std::string local_path;  // LOCAL_XDS_PATH; empty: none. From the environment only, as what it holds:
  SharedLocalMesh local;
  std::vector<PodConfig> pods;

  [[nodiscard]] std::string cni_socket() const { return run_dir + "/cni.sock"; }
  [[nodiscard]] std::string mesh_file() const { return run_dir + "/mesh.json"; }
  bool operator==(const Config&) const = default;
};

// Pure. `filename` only names the place of mistakes. The error's message has one line for each:
// "FILE:LINE:COLUMN: KEY: what is wrong with the value; remedy".
[[nodiscard]] Result<Config> parse_config(std::string_view text, std::string_view filename);
// Reads and parses a file, then takes over what the environment says, and fills in what depends on this machine (node_name, workers,
// busy_wait_us).
[[nodiscard]] Result<Config> load_config(const std::string& path);
// The built-in defaults with what depends on this machine filled in likewise: what an agent without a file runs with.
[[nodiscard]] Result<Config> default_config();

}  // namespace culvert::control
