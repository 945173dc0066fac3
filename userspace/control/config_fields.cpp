// SPDX-License-Identifier: Apache-2.0
// Every key of the configuration except those of the mesh and of pods (config_mesh_fields.cpp). Pure.
#include "control/config_fields.hpp"

#include "control/config_mesh_fields.hpp"
#include "control/config_tracing.hpp"
#include "control/grpc_channel.hpp"

namespace culvert::control {
namespace {

constexpr Applies kLive = Applies::Live;
constexpr Applies kRestart = Applies::Restart;
constexpr std::uint64_t kSecond = 1'000;
constexpr std::uint64_t kMinute = 60 * kSecond;
constexpr std::uint64_t kHour = 60 * kMinute;
constexpr std::uint64_t kKiB = 1ULL << 10U;
constexpr std::uint64_t kMiB = 1ULL << 20U;
// The kernel keeps a unix socket's path in 108 bytes; the agent's sockets are named below run_dir.
constexpr std::size_t kSocketPathMax = 107;
constexpr std::size_t kRunDirMax = 90;
constexpr std::size_t kTextMax = 4'095;

const Words<TunnelProtocol> kTunnelWords = {{"direct", TunnelProtocol::Direct}, {"hbone", TunnelProtocol::Hbone}};
const Words<tls::EngineChoice> kEngineWords = {{"auto", tls::EngineChoice::Auto},
                                               {"user", tls::EngineChoice::User},
                                               {"user-evp", tls::EngineChoice::UserEvp},
                                               {"user-ipsec-mb", tls::EngineChoice::UserIpsecMb},
                                               {"kernel", tls::EngineChoice::Kernel}};
const Words<tls::SpliceChoice> kSpliceWords = {
    {"auto", tls::SpliceChoice::Auto}, {"never", tls::SpliceChoice::Never}, {"always", tls::SpliceChoice::Always}};
const Words<telemetry::Level> kLevelWords = {{"debug", telemetry::Level::Debug},
                                             {"info", telemetry::Level::Info},
                                             {"warn", telemetry::Level::Warn},
                                             {"error", telemetry::Level::Error}};
const Words<telemetry::Format> kFormatWords = {{"plain", telemetry::Format::Plain}, {"json", telemetry::Format::Json}};

// Host names are looked up when they are needed; what cannot be one is told where it stands.
ScalarValue control_plane_address_value(std::string& target) {
  ScalarValue value = text_value(target, kTextMax);
  value.set = [set = std::move(value.set)](std::string_view text) -> Result<void> {
    CV_TRY(check_grpc_address(text));
    return set(text);
  };
  return value;
}

void visit_hbone(FieldVisitor& v, HboneConfig& hbone) {
  v.scalar({"stream_window", kRestart, "What a peer may send ahead of the reader, on one stream."},
           size_value(hbone.stream_window, 64 * kKiB, 1'024 * kMiB));
  v.scalar({"connection_window", kRestart, "What a peer may send ahead, on all streams of a connection together."},
           size_value(hbone.connection_window, 64 * kKiB, 1'024 * kMiB));
  v.scalar({"frame_size", kRestart, "The largest frame that a peer may send."},
           size_value(hbone.frame_size, 16 * kKiB, 8 * kMiB));
  v.scalar(
      {"streams_per_connection", kRestart, "Streams that we open on one connection, where the peer allows as many."},
      integer_value(hbone.streams_per_connection, 1, 100'000));
  v.scalar({"concurrent_streams", kRestart, "Streams that a peer may open on one connection."},
           integer_value(hbone.concurrent_streams, 1, 100'000));
  v.scalar({"connections_per_peer", kRestart,
            "Connections that a worker opens to a busy peer before it fills them to streams_per_connection."},
           integer_value(hbone.connections_per_peer, 1, 1'024));
  v.scalar({"ping_interval", kRestart, "A connection that was silent for so long is asked whether it lives."},
           duration_value(hbone.ping_interval_ms, kSecond, kHour));
  v.scalar({"ping_timeout", kRestart, "A connection that does not answer for so long is given up."},
           duration_value(hbone.ping_timeout_ms, kSecond, kHour));
  v.scalar({"early_data", kRestart, "Send the application's first bytes with CONNECT, before the peer's answer."},
           boolean_value(hbone.early_data));
  v.scalar(
      {"response_baggage", kRestart,
       "Whether our answers say which workload is reached, and metrics take from a peer's CONNECT which one it is."},
      boolean_value(hbone.response_baggage));
}

const Words<UnknownPolicies> kUnknownWords = {
    {"hold", UnknownPolicies::Hold}, {"deny", UnknownPolicies::Deny}, {"allow", UnknownPolicies::Allow}};

void visit_bpf(FieldVisitor& v, BpfConfig& bpf) {
  v.scalar({"pin_dir", kRestart, "Directory on a bpffs for this agent's pins; one per agent."},
           path_value(bpf.pin_dir));
  v.scalar({"cgroup", kRestart, "The cgroup2 mount; found in /proc/self/mountinfo when not given."},
           path_value(bpf.cgroup));
  v.scalar({"mark", kRestart, "Packet mark that routes a captured packet over lo inside the pod."},
           integer_value(bpf.mark, 1, 0xffff'ffff));
  v.scalar({"route_table", kRestart, "Routing table inside the pod for captured packets."},
           integer_value(bpf.route_table, 1, 0xffff'ffff));
  v.scalar({"rule_priority", kRestart, "Priority of the pod's ip rule."}, integer_value(bpf.rule_priority, 1, 32'765));
  v.scalar({"tcx", kRestart, "Attach by tcx where the kernel has it; false: clsact."}, boolean_value(bpf.tcx));
  v.scalar({"connect_hook", kRestart, "Steer at connect where the kernel can; false: redirect each packet at tc."},
           boolean_value(bpf.connect_hook));
  v.scalar({"big_segments", kRestart, "Let the pod's lo carry big segments; they never leave the pod."},
           boolean_value(bpf.big_segments));
}

void visit_pool(FieldVisitor& v, PoolConfig& pool) {
  v.scalar({"idle_timeout", kLive, "How long an idle tunnel waits for its next connection."},
           duration_value(pool.idle_timeout_ms, kSecond, kHour));
  v.scalar({"max_idle_per_peer", kLive,
            "Idle tunnels that a worker keeps to one destination of one local workload; 0 keeps none."},
           integer_value(pool.max_idle_per_peer, 0, 65'536));
  v.scalar({"direct_per_peer", kRestart,
            "Direct tunnels that a worker uses at once to one destination; further connections share HBONE tunnels. 0: "
            "they never do."},
           integer_value(pool.direct_per_peer, 0, 65'536));
}

void visit_handshake(FieldVisitor& v, HandshakeConfig& handshake) {
  v.scalar({"timeout", kLive, "How long a TLS handshake may take, and after it HTTP/2's preface and SETTINGS."},
           duration_value(handshake.timeout_ms, 100, 5 * kMinute));
  v.scalar({"concurrency_per_worker", kLive,
            "Handshakes in progress on one worker; more are refused, and once half are taken those of a source address "
            "that has a quarter."},
           integer_value(handshake.concurrency_per_worker, 1, 65'536));
  v.scalar({"per_peer_rate", kLive, "Handshakes per second and source address that a worker accepts; 0: no limit."},
           integer_value(handshake.per_peer_rate, 0, 1'000'000));
}

void visit_tunnel(FieldVisitor& v, TunnelConfig& tunnel) {
  v.list({"offer", kRestart, "Tunnel protocols that are offered, in order of preference."},
         choice_list(tunnel.offer, kTunnelWords));
  v.section("pool", "Tunnels that wait for their next connection.",
            [&tunnel](FieldVisitor& inner) { visit_pool(inner, tunnel.pool); });
  v.section("handshake", "Limits of TLS handshakes.",
            [&tunnel](FieldVisitor& inner) { visit_handshake(inner, tunnel.handshake); });
  v.section("hbone", "Connections that carry HBONE: HTTP/2, a stream for each connection of an application.",
            [&tunnel](FieldVisitor& inner) { visit_hbone(inner, tunnel.hbone); });
  v.scalar({"connect_timeout", kLive, "TCP connect to a peer agent or to the application."},
           duration_value(tunnel.connect_timeout_ms, 100, 5 * kMinute));
}

void visit_records(FieldVisitor& v, RecordsConfig& records) {
  v.scalar({"tx", kRestart, "Who seals the TLS records that are sent."}, choice_value(records.tx, kEngineWords));
  v.scalar({"rx", kRestart, "Who opens the TLS records that are received."}, choice_value(records.rx, kEngineWords));
  v.scalar(
      {"splice", kLive, "Whether bytes go into kernel records by splice; auto: those of flows that fill large reads."},
      choice_value(records.splice, kSpliceWords));
}

void visit_drain(FieldVisitor& v, DrainConfig& drain) {
  v.scalar({"timeout", kLive, "After SIGTERM, how long live connections may go on."},
           duration_value(drain.timeout_ms, 0, kHour));
  v.scalar({"pod_leave_timeout", kLive, "How long the live connections of a pod that leaves the mesh may go on."},
           duration_value(drain.pod_leave_timeout_ms, 0, 24 * kHour));
}

void visit_admin(FieldVisitor& v, AdminConfig& admin) {
  v.scalar({"socket", kRestart, "Unix socket of culvertctl; RUN_DIR/admin.sock when not given."},
           path_value(admin.socket, kSocketPathMax));
  v.scalar({"metrics", kRestart, "Where /metrics is served, or off."}, listen_value(admin.metrics));
  v.scalar({"readiness", kRestart, "Where /healthz/ready is served, or off."}, listen_value(admin.readiness));
  v.scalar({"local_port", kRestart,
            "Port on 127.0.0.1 and ::1 for what ztunnel serves there, /config_dump above all; 0: off. 15000 in a "
            "cluster and "
            "off elsewhere when not given."},
           integer_value(admin.local_port, 0, 65'535));
}

void visit_metrics(FieldVisitor& v, MetricsConfig& metrics) {
  v.scalar({"max_label_sets", kRestart,
            "Label sets of traffic, one for each pair of workloads and service; what is beyond counts as overflow."},
           integer_value(metrics.label_sets_max, 1, 1'000'000));
  v.scalar({"label_expiry", kLive,
            "A label set without a live connection goes after this time; when it comes back it counts from 0."},
           duration_value(metrics.label_expiry_ms, kSecond, 30 * 24 * kHour));
}

void visit_log(FieldVisitor& v, LogConfig& log) {
  v.scalar({"level", kLive, "The least important lines that are written."}, choice_value(log.level, kLevelWords));
  v.scalar({"format", kRestart, "Lines for a person or JSON objects."}, choice_value(log.format, kFormatWords));
  v.scalar({"access", kRestart, "One line per connection when it has ended."}, boolean_value(log.access));
}

void visit_embedded(FieldVisitor& v, EmbeddedCaConfig& embedded) {
  v.scalar({"directory", kRestart, "Holds ca.key and ca.crt, made on first use; STATE_DIR/ca when not given."},
           path_value(embedded.directory));
  v.scalar({"lifetime", kLive, "Validity of a workload's certificate; it is replaced at half of it."},
           duration_value(embedded.lifetime_ms, 10 * kSecond, 365 * 24 * kHour));
}

void visit_control_plane(FieldVisitor& v, ControlPlaneConfig& to) {
  v.scalar({"xds_address", kRestart, "istiod, as https://HOST:PORT; without it the mesh is what this file says."},
           control_plane_address_value(to.xds_address));
  v.scalar({"ca_address", kRestart, "istiod's certificate service, likewise; without it: the built-in CA."},
           control_plane_address_value(to.ca_address));
  v.scalar({"xds_roots", kRestart, "Who vouches for istiod: a PEM file, or SYSTEM."},
           text_value(to.xds_roots, kTextMax));
  v.scalar({"ca_roots", kRestart, "Likewise for the certificate service."}, text_value(to.ca_roots, kTextMax));
  v.scalar({"token", kRestart, "File with the service account token; empty: none is sent."},
           text_value(to.token, kTextMax));
  v.scalar({"on_demand", kRestart,
            "Ask istiod for workloads and services when connections need them, instead of for all of them. Not with "
            "dns.capture."},
           boolean_value(to.on_demand));
  v.scalar({"certificate_lifetime", kRestart, "What is asked of the certificate service."},
           duration_value(to.certificate_lifetime_ms, kMinute, 365 * 24 * kHour));
}

void visit_policy_handling(FieldVisitor& v, PolicyHandlingConfig& policy) {
  v.scalar(
      {"unknown", kLive,
       "A connection to a workload that is not known, or that names a policy that is not: hold: waits for it, then is "
       "refused. deny: is refused. allow: goes by those that are known."},
      choice_value(policy.unknown, kUnknownWords));
  v.scalar({"hold_timeout", kLive, "How long such a connection waits."},
           duration_value(policy.hold_timeout_ms, 0, kMinute));
  v.scalar({"log_matches", kLive, "What policies say to each connection is logged at level info, not debug."},
           boolean_value(policy.log_matches));
}

void visit_capture(FieldVisitor& v, CaptureConfig& capture) {
  v.scalar(
      {"answer_syn", kLive,
       "When the SYN of a pod's connection is answered: at_once: before the far end is asked; one that fails is reset. "
       "after_connect: when the far end has answered; where it refuses, connect() fails."},
      choice_value(capture.answer_syn, kAnswerSynChoices));
  visit_exclusions(v, capture.exclude);
}

void visit_limits(FieldVisitor& v, LimitsConfig& limits) {
  v.scalar({"connections_per_worker", kLive, "Live connections of one worker; more are closed at once."},
           integer_value(limits.connections_per_worker, 16, 1'000'000));
  v.scalar({"open_files", kRestart,
            "RLIMIT_NOFILE of the agent; 0: as high as the hard limit allows. Connections leave an eighth free, at "
            "most 192 and 16 for each worker."},
           integer_value(limits.open_files, 0, 16'777'216));
}

}  // namespace

std::string_view to_string(TunnelProtocol protocol) noexcept {
  return protocol == TunnelProtocol::Direct ? "direct" : "hbone";
}

AdminConfig::AdminConfig() {
  const IpAddress any = IpAddress::v4(in_addr{});
  metrics = Endpoint{any, 15'020};
  readiness = Endpoint{any, 15'021};
}

void visit_config(FieldVisitor& v, Config& config) {
  v.scalar({"node_name", kRestart, "Name of this node; the host's name when not given."},
           name_value(config.node_name, 253));
  v.scalar({"cluster", kRestart, "Name of the cluster."}, name_value(config.cluster, 253));
  v.scalar({"network", kRestart, "Name of this node's network; may be empty."}, name_value(config.network, 253, true));
  v.scalar({"trust_domain", kRestart, "SPIFFE trust domain of every identity."},
           trust_domain_value(config.trust_domain));
  v.list({"trust_domain_aliases", kRestart,
          "Trust domains whose identities count as those of the local one, in certificates and in policies."},
         trust_domain_list(config.trust_domain_aliases, 64));
  v.scalar({"state_dir", kRestart, "What must outlive a reboot: joined pods, the embedded CA."},
           path_value(config.state_dir));
  v.scalar({"run_dir", kRestart, "Sockets and mesh.json."}, path_value(config.run_dir, kRunDirMax));
  v.scalar({"node_netns", kRestart, "Network namespace of the node; the agent's own when not given."},
           path_value(config.node_netns));
  v.scalar({"workers", kRestart, "Worker threads; 0: one per CPU that the agent may use."},
           integer_value(config.workers, 0, 256));
  v.scalar({"busy_wait_us", kLive,
            "Microseconds for which a worker looks for further events before it sleeps, as long as they keep coming "
            "that soon; 0: it sleeps at once. "
            "See Round trips and CPU."},
           integer_value(config.busy_wait_us, 0, 1000));
  v.section("bpf", "The capture programs.", [&config](FieldVisitor& inner) { visit_bpf(inner, config.bpf); });
  v.section("tunnel", "Connections between agents.",
            [&config](FieldVisitor& inner) { visit_tunnel(inner, config.tunnel); });
  v.section("records", "Who carries TLS records, per direction.",
            [&config](FieldVisitor& inner) { visit_records(inner, config.records); });
  v.section("buffers", "Memory for bytes in flight.", [&config](FieldVisitor& inner) {
    inner.scalar({"bytes_per_worker_max", kRestart,
                  "Buffers of one worker; at the limit it stops reading. HBONE streams arrive up to their windows all "
                  "the same: `tunnel.hbone.connection_window` beyond twice the limit those that hold much are reset."},
                 size_value(config.buffers.bytes_per_worker_max, kMiB, 64 * 1'024 * kMiB));
  });
  v.section("drain", "How live connections end.", [&config](FieldVisitor& inner) { visit_drain(inner, config.drain); });
  v.section("admin", "Where people and probes ask.",
            [&config](FieldVisitor& inner) { visit_admin(inner, config.admin); });
  v.section("metrics", "What /metrics tells of traffic.",
            [&config](FieldVisitor& inner) { visit_metrics(inner, config.metrics); });
  v.section("tracing", "Spans of connections, for a collector.",
            [&config](FieldVisitor& inner) { visit_tracing(inner, config.tracing); });
  v.section("log", "What is written to standard output.",
            [&config](FieldVisitor& inner) { visit_log(inner, config.log); });
  v.section("identity", "Where certificates come from.", [&config](FieldVisitor& inner) {
    inner.section("embedded", "The built-in certificate authority.",
                  [&config](FieldVisitor& ca) { visit_embedded(ca, config.identity.embedded); });
    inner.section("revocation", "Certificates that their issuers have taken back.", [&config](FieldVisitor& crl) {
      crl.scalar(
          {"path", kRestart, "File with certificate revocation lists, PEM or one in DER; followed as it changes."},
          path_value(config.identity.revocation.path));
      crl.scalar({"fail_closed", kRestart,
                  "Refuse a peer where no current list of an issuer speaks of its certificates; false: accept it."},
                 boolean_value(config.identity.revocation.fails_closed));
    });
  });
  v.section("control_plane", "Where the mesh and its certificates come from, in a cluster.",
            [&config](FieldVisitor& inner) { visit_control_plane(inner, config.control_plane); });
  v.section("policy", "How policies are applied; they themselves are the mesh's.",
            [&config](FieldVisitor& inner) { visit_policy_handling(inner, config.policy); });
  v.section("zds", "A stock istio-cni that enrols the pods of this node.", [&config](FieldVisitor& inner) {
    inner.scalar({"socket", kRestart, "Its socket; without it Culvert's own plugin, this file and people enrol pods."},
                 path_value(config.zds.socket, kSocketPathMax));
  });
  v.section("dns", "Names of the mesh for pods.", [&config](FieldVisitor& inner) {
    inner.scalar(
        {"capture", kRestart, "Answer what pods ask of port 53, as our programs or istio-cni's rules send it here."},
        boolean_value(config.dns.capture));
  });
  v.section("limits", "What bounds the agent.", [&config](FieldVisitor& inner) { visit_limits(inner, config.limits); });
  v.section("capture",
            "What is captured of every pod, and how. The exclusions hold for pods that join after the change.",
            [&config](FieldVisitor& inner) { visit_capture(inner, config.capture); });
  v.section("mesh", "Who is in the mesh.", [&config](FieldVisitor& inner) { visit_mesh(inner, config.mesh); });
  visit_pods(v, config.pods);
}

}  // namespace culvert::control
