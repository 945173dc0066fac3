// SPDX-License-Identifier: Apache-2.0
#include "app/agent.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/memory_trim.hpp"
#include "app/privileges.hpp"
#include "base/clock.hpp"
#include "core/netns.hpp"
#include "dns/name_cache.hpp"
#include "enroll/mesh_file.hpp"

namespace culvert::app {
namespace {

constexpr std::uint64_t kTendIntervalMs = 2'000;
constexpr std::size_t kTrimChanges = 5'000;  // objects of the mesh that came or went, since the last time

// One agent per run directory; the lock goes with the process, however it ends.
Result<UniqueFd> lock_run_dir(const std::string& run_dir) {
  if (::mkdir(run_dir.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno(errno, "cannot make the run directory {} (run_dir in the configuration)", run_dir);
  }
  // Whoever may write there may put sockets in the place of ours.
  const UniqueFd directory(::open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat about{};
  if (!directory || ::fstat(directory.get(), &about) != 0) {
    return fail_errno(
        errno, "cannot use {} as the run directory; it must be a directory and no link (run_dir in the configuration)",
        run_dir);
  }
  if (about.st_uid != ::geteuid()) {
    return fail(
        ErrorCode::PermissionDenied,
        "the run directory {} belongs to user {}, and the agent runs as user {}: remove it, or set run_dir to another",
        run_dir, about.st_uid, ::geteuid());
  }
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;  // as an empty volume of a container has it
  if ((about.st_mode & kOthersWrite) != 0 && ::fchmod(directory.get(), about.st_mode & 07777U & ~kOthersWrite) != 0) {
    return fail_errno(errno, "others may write in the run directory {}, and that cannot be changed", run_dir);
  }
  const std::string path = run_dir + "/lock";
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail_errno(errno, "cannot open {}", path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::AlreadyExists,
                "another culvertd runs with run directory {}: stop it, or give this one its own run_dir", run_dir);
  }
  return lock;
}

Result<std::uint64_t> node_cookie(const control::Config& config) {
  UniqueFd netns = config.node_netns.empty() ? CV_TRY(open_current_netns()) : CV_TRY(open_netns(config.node_netns));
  return netns_cookie(netns.get());
}

}  // namespace

Agent::Agent(std::string config_path, control::Config config)
    : config_path_(std::move(config_path)),
      config_(std::move(config)),
      start_us_(wall_us()),
      file_log_filter_(default_log_filter()),
      log_filter_(file_log_filter_),
      trust_domains_(config_.trust_domain_aliases) {}

Agent::~Agent() {
  if (reactor_ != nullptr && signals_) reactor_->unwatch(signals_.get());
}

Result<std::unique_ptr<Agent>> Agent::start(std::string config_path, control::Config config) {
  std::unique_ptr<Agent> agent(new Agent(std::move(config_path), std::move(config)));
  std::vector<std::string> missing;
  if (auto dropped = drop_privileges(agent->config_.limits.open_files, missing); !dropped) {
    return std::unexpected(std::move(dropped).error());
  }
  for (const std::string& name : missing) {
    agent->notes_.push_back(fmt::format("capability {} is missing: give it to the service (docs/operations.md)", name));
  }
  agent->log_ = CV_TRY(telemetry::Log::start(
      {.filter = agent->log_filter_, .format = agent->config_.log.format, .access_log = agent->config_.log.access}));
  if (auto opened = agent->open_parts(); !opened) return std::unexpected(std::move(opened).error());
  if (auto opened = agent->open_sockets(); !opened) return std::unexpected(std::move(opened).error());
  if (auto filtered = install_seccomp_filter(); !filtered) return std::unexpected(std::move(filtered).error());
  agent->phase_ = Phase::Ready;
  agent->pods_->set_ready();
  for (const std::string& note : agent->notes_) agent->log_->warn("{}", note);
  const std::string_view how =
      agent->admin_server_->pending().empty() ? "is ready" : "serves pods, and waits for ports";
  agent->log_->info("culvertd {} {}: node {}, {} workers, {} pods", CULVERT_VERSION, how, agent->config_.node_name,
                    agent->workers_->size(), agent->pods_->list().size());
  return agent;
}

Result<void> Agent::open_parts() {
  reactor_ = CV_TRY(Reactor::create());
  if (auto watched = watch_signals(); !watched) return watched;
  queue_ = CV_TRY(ControlQueue::open(*reactor_));
  run_lock_ = CV_TRY(lock_run_dir(config_.run_dir));
  engine_support_ = tls::probe_engines();

  datapath::Datapath::Options capture;
  capture.pin_dir = config_.bpf.pin_dir;
  capture.cgroup_dir = config_.bpf.cgroup;
  capture.mark = config_.bpf.mark;
  capture.route_table = config_.bpf.route_table;
  capture.rule_priority = config_.bpf.rule_priority;
  capture.node_netns_cookie = CV_TRY(node_cookie(config_));
  capture.allow_tcx = config_.bpf.tcx;
  capture.allow_connect_hook = config_.bpf.connect_hook;
  capture.allow_big_segments = config_.bpf.big_segments;
  capture.captures_dns = config_.dns.capture;
  auto programs = with_context(datapath::Datapath::open(capture), "opening the capture programs");
  if (programs) {
    datapath_ = std::move(*programs);
  } else if (config_.zds.socket.empty()) {
    return std::unexpected(std::move(programs).error());
  } else {
    // As in a pod that was made for ztunnel.
    datapath_ = datapath::Datapath::without_programs();
    notes_.push_back(fmt::format("only pods of istio-cni can join: {}", programs.error().message()));
  }
  for (const std::string& note : datapath_->capabilities().notes) notes_.push_back(note);

  enroller_ =
      CV_TRY(enroll::Enroller::open({.state_dir = config_.state_dir,
                                     .workers = config_.workers,
                                     .mark = config_.bpf.mark,
                                     .captures_dns = config_.dns.capture && datapath_->capabilities().has_dns_hooks},
                                    *datapath_));

  resumption_store_ = std::make_unique<tls::ResumptionStore>();
  resumption_issuer_ = std::make_unique<tls::ResumptionIssuer>();
  const control::RevocationConfig& revocation = config_.identity.revocation;
  if (!revocation.path.empty()) revocation_ = std::make_unique<tls::Revocation>(revocation.fails_closed);
  resolver_ = std::make_unique<dns::Resolver>(*reactor_, dns::Resolver::Options{});
  CV_TRY(open_span_queue());
  options_ = proxy_options();
  label_budget_ = std::make_unique<telemetry::LabelBudget>(config_.metrics.label_sets_max);
  workers_ = CV_TRY(WorkerSet::start(config_.workers, options_, datapath_->socket_marker(), datapath_->syn_gate(),
                                     *log_, *label_budget_, *queue_));
  open_posts();
  open_revocation();
  if (auto opened = open_certificates(); !opened) return opened;
  CV_TRY(open_tracing());
  PodManager::Parts parts{&config_,       reactor_.get(), enroller_.get(), certificates_.get(),
                          workers_.get(), log_.get(),     nullptr};
  if (config_.dns.capture) {
    parts.open_dns = [this](const enroll::PodSpec& pod, UniqueFd netns) { return open_dns(pod, std::move(netns)); };
  }
  pods_ = std::make_unique<PodManager>(std::move(parts));
  if (auto loaded = open_source(); !loaded) return loaded;
  pods_->on_change([this] { publish_local_workloads(); });
  pods_->adopt();
  tend();
  sweep_traffic();
  return {};
}

Result<void> Agent::open_source() {
  control::FileSource::Callbacks callbacks;
  callbacks.changed = [this](const control::Config& config, std::shared_ptr<const state::Snapshot> snapshot) {
    config_changed(config, std::move(snapshot));
  };
  callbacks.failed = [this](const Error& error) {
    log_->error("the configuration was not taken over; the one in force stays: {}", error.message());
  };
  callbacks.restart_needed = [this](const std::vector<std::string>& keys) {
    log_->warn("changed keys that wait for a restart: {}", fmt::join(keys, ", "));
  };
  source_ = CV_TRY(control::FileSource::open(*reactor_, config_path_, config_, std::move(callbacks)));
  if (!config_.control_plane.xds_address.empty()) open_control_plane();
  return {};
}

void Agent::open_control_plane() {
  control::XdsSource::Callbacks callbacks;
  callbacks.post = [this](std::function<void()> task) { queue_->post(std::move(task)); };
  callbacks.changed = [this](std::shared_ptr<const state::Snapshot> snapshot) {
    snapshot_changed(std::move(snapshot));
  };
  callbacks.connected = [this] { log_->info("the control plane at {} answers", config_.control_plane.xds_address); };
  callbacks.failed = [this](const std::string& why) {
    log_->warn("no stream from the control plane, what is known stays in force; trying again: {}", why);
  };
  callbacks.refused = [this](const std::string& why) {
    log_->error("refused of what the control plane sent: {}", why);
  };
  callbacks.surprised = [this](const std::string& why) {
    log_->error("the control plane sent what nothing here can use: {}", why);
  };
  callbacks.after = [this](std::uint64_t delay_ms, std::function<void()> task) {
    reactor_->after_ms(delay_ms, std::move(task));
  };
  xds_ = std::make_unique<control::XdsSource>(config_, std::move(callbacks));
}

void Agent::open_posts() {
  const auto post = [this](auto make) {
    return std::make_unique<UntilDone>(*reactor_, WorkerSet::kRetryMs, [this, make] {
      return workers_->post_each([&](std::size_t) -> proxy::ToWorker { return make(); });
    });
  };
  post_snapshot_ = post([this] { return proxy::SetSnapshot{snapshot_}; });
  post_options_ = post([this] { return proxy::SetOptions{proxy_options()}; });
  post_revocation_check_ = post([] { return proxy::CheckRevocation{}; });
}

void Agent::snapshot_changed(std::shared_ptr<const state::Snapshot> snapshot) {
  snapshot_ = std::move(snapshot);
  pods_->set_snapshot(snapshot_);
  post_snapshot_->run();
  warm_certificates();
  start_zds_when_warm();
}

void Agent::config_changed(const control::Config& config, std::shared_ptr<const state::Snapshot> snapshot) {
  config_ = config;
  // A level that was set by hand holds until the file says another one.
  if (default_log_filter() != file_log_filter_) {
    file_log_filter_ = default_log_filter();
    set_log_filter(file_log_filter_);
  }
  if (embedded_source_ != nullptr) embedded_source_->set_lifetime_ms(config_.identity.embedded.lifetime_ms);
  post_options_->run();
  // In a cluster the file says how this agent runs, and istiod who is in the mesh, beside what LOCAL_XDS says.
  if (xds_ != nullptr) xds_->set_local_mesh(config_.local);
  if (config_.control_plane.xds_address.empty()) snapshot_changed(std::move(snapshot));
  if (phase_ != Phase::Ready) return;
  log_->info("configuration in force: version {}, {} workloads", snapshot_ == nullptr ? 0 : snapshot_->version(),
             snapshot_ == nullptr ? 0 : snapshot_->workload_count());
  publish_mesh_file();
  pods_->follow_configuration();
}

// Pods that joined here are workloads of the mesh whether or not the file lists them.
void Agent::publish_local_workloads() {
  std::vector<state::Workload> local;
  for (const admin::Pod& pod : pods_->list()) {
    if (pod.slot == 0 || pod.state == "leaving") continue;
    // Of these istiod says what there is to say, and their connections wait for it.
    if (const enroll::PodSpec* spec = enroller_->find(pod.id);
        xds_ != nullptr && spec != nullptr && spec->capture == enroll::Capture::Rules) {
      continue;
    }
    auto identity = SpiffeId::parse(pod.identity);
    if (!identity) continue;
    state::Workload workload;
    workload.uid = pod.namespace_name + "/" + pod.name;
    workload.name = pod.name;
    workload.namespace_name = pod.namespace_name;
    workload.identity = std::move(*identity);
    workload.node = config_.node_name;
    workload.network = config_.network;
    workload.cluster = config_.cluster;
    workload.canonical_name = pod.name;
    workload.canonical_revision = "latest";
    workload.addresses = pod.addresses;
    local.push_back(std::move(workload));
  }
  if (xds_ != nullptr) {
    xds_->set_local_workloads(local);
  } else {
    source_->set_local_workloads(std::move(local));
  }
}

Result<void> Agent::open_sockets() {
  publish_mesh_file();
  if (!config_.zds.socket.empty()) open_zds();
  enroll::CniServer::Options cni;
  cni.socket_path = config_.cni_socket();
  cni.on_refusal = [this](const std::string& why) { log_->warn("{}", why); };
  cni_server_ = CV_TRY(enroll::CniServer::open(std::move(cni), *reactor_, *pods_));
  admin_server_ = CV_TRY(admin::Server::start(
      {.socket_path = config_.admin.socket,
       .metrics = config_.admin.metrics,
       .readiness = config_.admin.readiness,
       .local_port = config_.admin.local_port.value_or(0) == 0
                         ? std::nullopt
                         : std::optional(static_cast<std::uint16_t>(*config_.admin.local_port)),
       .tell = [this](telemetry::Level level, const std::string& text) { log_->line(level, text); }},
      *reactor_, *this));
  return {};
}

// Who may not wait at all is refused.
policy::UnknownAnswer Agent::unknown_answer() const {
  if (config_.policy.unknown == control::UnknownPolicies::Allow) return policy::UnknownAnswer::Allow;
  const bool may_wait = config_.policy.unknown == control::UnknownPolicies::Hold && config_.policy.hold_timeout_ms > 0;
  return may_wait ? policy::UnknownAnswer::Hold : policy::UnknownAnswer::Deny;
}

proxy::Options Agent::proxy_options() {
  proxy::Options options;
  options.mark = config_.bpf.mark;
  options.cluster = config_.cluster;
  options.network = config_.network;
  options.alpn.clear();
  for (const control::TunnelProtocol protocol : config_.tunnel.offer) {
    options.alpn.push_back(protocol == control::TunnelProtocol::Direct ? tls::Alpn::Direct : tls::Alpn::Hbone);
  }
  options.engines = tls::plan_engines(engine_support_, config_.records.tx, config_.records.rx);
  options.splice = config_.records.splice;
  options.connect_timeout_ms = config_.tunnel.connect_timeout_ms;
  options.answers_after_connect = config_.capture.answer_syn == AnswerSyn::AfterConnect;
  options.handshake_timeout_ms = config_.tunnel.handshake.timeout_ms;
  options.server_handshakes_max = config_.tunnel.handshake.concurrency_per_worker;
  options.server_handshakes_per_peer_s = config_.tunnel.handshake.per_peer_rate;
  options.pool_idle_timeout_ms = config_.tunnel.pool.idle_timeout_ms;
  options.pool_idle_max = config_.tunnel.pool.max_idle_per_peer;
  options.direct_per_peer_max = config_.tunnel.pool.direct_per_peer;
  const control::HboneConfig& hbone = config_.tunnel.hbone;
  options.hbone.stream_window = static_cast<std::uint32_t>(hbone.stream_window);
  options.hbone.connection_window = static_cast<std::uint32_t>(hbone.connection_window);
  options.hbone.frame_bytes_max = static_cast<std::uint32_t>(hbone.frame_size);
  options.hbone.streams_max = hbone.concurrent_streams;
  options.hbone.streams_before_settings = hbone.streams_per_connection;
  options.hbone.ping_interval_ms = hbone.ping_interval_ms;
  options.hbone.ping_timeout_ms = hbone.ping_timeout_ms;
  options.hbone.settings_timeout_ms = config_.tunnel.handshake.timeout_ms;
  options.hbone_connections_per_peer = hbone.connections_per_peer;
  options.hbone_early_data = hbone.early_data;
  options.hbone_response_baggage = hbone.response_baggage;
  options.policy_unknown = unknown_answer();
  options.policy_hold_ms = config_.policy.hold_timeout_ms;
  options.logs_policy_matches = config_.policy.log_matches;
  options.tracing = tracing_options();
  options.busy_wait_ns = std::uint64_t{config_.busy_wait_us.value_or(0)} * 1000;
  options.buffer_bytes_max = config_.buffers.bytes_per_worker_max;
  options.connections_max = config_.limits.connections_per_worker;
  options.descriptors_end = descriptors_for_connections(config_.workers);
  options.resumption_store = resumption_store_.get();
  options.resumption_issuer = resumption_issuer_.get();
  options.revocation = revocation_.get();
  options.trust_domains = &trust_domains_;
  options.resolve = [this](std::uint32_t worker, std::string name, int family, SlabHandle flow) {
    static_cast<void>(queue_->post_if_room(
        [this, worker, family, flow, name = std::move(name)] { resolve(worker, name, family, flow); }));
  };
  options.demand = [this](std::string name) {
    static_cast<void>(queue_->post_if_room([this, name = std::move(name)] {
      if (xds_ != nullptr) xds_->want(name);
    }));
  };
  return options;
}

void Agent::resolve(std::uint32_t worker, const std::string& name, int family, SlabHandle flow) {
  resolver_->resolve(name, [this, worker, family, flow](const std::vector<IpAddress>& addresses) {
    proxy::NameResolved answer{flow, std::nullopt};
    if (!addresses.empty()) answer.address = dns::choose(addresses, family, random_());
    static_cast<void>(workers_->post_to(worker, answer));
  });
}

int Agent::run() {
  reactor_->after_ms(kTendIntervalMs, [] { release_unused_pages(); });
  reactor_->run();
  return exit_status_;
}

void Agent::tend() {
  pods_->tend();
  // What a large push needed, or a large removal has freed, lies in pieces. By the next time workers have let go of the snapshots that held it.
  if (std::exchange(is_trim_due_, xds_ != nullptr && xds_->take_changes() >= kTrimChanges)) release_unused_pages();
  reactor_->after_ms(kTendIntervalMs, [this] { tend(); });
}

void Agent::publish_mesh_file() {
  cni::MeshFile file;
  file.all = config_.mesh.enrol == control::EnrolMode::All;
  for (const control::NamespaceConfig& one : config_.mesh.namespaces) {
    if (!one.enrol) continue;
    (*one.enrol ? file.namespaces : file.excluded_namespaces).push_back(one.name);
  }
  if (auto written = enroll::write_mesh_file(config_.mesh_file(), file); !written) {
    log_->error("{}", written.error().message());
  }
}

}  // namespace culvert::app
