// SPDX-License-Identifier: Apache-2.0
// Agent: the wiring. Makes the parts in order, runs the control loop, reloads, drains. Everything below it talks to values and
// interfaces; this is the one place that knows all of them. Control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "admin/provider.hpp"
#include "admin/server.hpp"
#include "app/control_queue.hpp"
#include "app/pod_manager.hpp"
#include "app/worker_set.hpp"
#include "app/zds_pods.hpp"
#include "base/unique_fd.hpp"
#include "control/certificate_manager.hpp"
#include "control/certificate_source.hpp"
#include "control/config.hpp"
#include "control/file_source.hpp"
#include "control/istio_ca.hpp"
#include "control/otlp_exporter.hpp"
#include "control/otlp_sender.hpp"
#include "control/revocation_file.hpp"
#include "control/scheduler.hpp"
#include "control/xds_source.hpp"
#include "control/zds_client.hpp"
#include "control/zds_session.hpp"
#include "core/reactor.hpp"
#include "core/until_done.hpp"
#include "datapath/datapath.hpp"
#include "dns/counters.hpp"
#include "dns/proxy.hpp"
#include "dns/resolver.hpp"
#include "enroll/cni_server.hpp"
#include "enroll/enroller.hpp"
#include "proxy/options.hpp"
#include "telemetry/exposition.hpp"
#include "telemetry/label_budget.hpp"
#include "telemetry/log.hpp"
#include "telemetry/span_queue.hpp"
#include "tls/embedded_ca.hpp"
#include "tls/resumption.hpp"
#include "tls/revocation.hpp"

namespace culvert::app {

class Agent final : public admin::Provider {
 public:
  // `config_path` may be empty: built-in defaults, no reload.
  [[nodiscard]] static Result<std::unique_ptr<Agent>> start(std::string config_path, control::Config config);
  ~Agent() override;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Until SIGTERM or SIGINT and the drain that follows (a second signal ends it at once). The exit status: 0, or 1 where the agent cannot go on.
  [[nodiscard]] int run();

  // admin::Provider
  [[nodiscard]] admin::Status status() const override;
  [[nodiscard]] std::vector<admin::Pod> pods() const override;
  [[nodiscard]] std::vector<admin::Workload> workloads() const override;
  [[nodiscard]] std::vector<admin::Service> services() const override;
  [[nodiscard]] std::vector<admin::Certificate> certificates() const override;
  [[nodiscard]] std::vector<telemetry::PodCounters> drops() const override;
  [[nodiscard]] Result<admin::Explanation> explain(const std::string& source,
                                                   const std::string& destination) const override;
  void connections(admin::Reply<std::vector<telemetry::ConnectionLog>> reply) override;
  void join(admin::JoinRequest request, admin::Reply<admin::Pod> reply) override;
  void leave(const std::string& id, admin::Reply<void> reply) override;
  void set_log_level(telemetry::Level level) override;
  [[nodiscard]] telemetry::LogFilter log_filter() const override { return log_filter_; }
  [[nodiscard]] telemetry::LogFilter default_log_filter() const override;
  void set_log_filter(const telemetry::LogFilter& filter) override;
  [[nodiscard]] std::unique_ptr<admin::DumpSource> begin_dump() const override;
  void shut_down() override;
  [[nodiscard]] std::vector<std::string> pending_tasks() const override;
  [[nodiscard]] telemetry::Scrape metrics() const override;

 private:
  enum class Phase : std::uint8_t { Starting, Ready, Draining };

  Agent(std::string config_path, control::Config config);
  [[nodiscard]] Result<void> open_parts();
  [[nodiscard]] Result<void> open_sockets();
  [[nodiscard]] Result<void> watch_signals();
  [[nodiscard]] proxy::Options proxy_options();
  [[nodiscard]] policy::UnknownAnswer unknown_answer() const;
  [[nodiscard]] Result<void> open_source();
  [[nodiscard]] Result<void> open_certificates();
  void warm_certificates();
  void open_revocation();
  void tell_of_idle_lists();
  void know_issuers(const tls::Credentials* credentials);
  [[nodiscard]] admin::Revocation revocation() const;
  void add_revocation(std::vector<prometheus::MetricFamily>& families) const;
  void on_signal(int signal);
  void publish_local_workloads();
  void config_changed(const control::Config& config, std::shared_ptr<const state::Snapshot> snapshot);
  void open_control_plane();
  void add_workload_manager(std::vector<prometheus::MetricFamily>& families) const;
  void add_control_plane(std::vector<prometheus::MetricFamily>& families) const;
  void open_posts();
  void snapshot_changed(std::shared_ptr<const state::Snapshot> snapshot);
  void publish_mesh_file();
  void open_zds();
  [[nodiscard]] Result<std::unique_ptr<dns::Proxy>> open_dns(const enroll::PodSpec& pod, UniqueFd netns);
  void add_dns(std::vector<prometheus::MetricFamily>& families) const;
  // The mesh is known: pods may come.
  void start_zds_when_warm();
  void resolve(std::uint32_t worker, const std::string& name, int family, SlabHandle flow);
  [[nodiscard]] Result<void> open_span_queue();
  [[nodiscard]] Result<void> open_tracing();
  [[nodiscard]] proxy::Tracing tracing_options() const;
  void add_tracing(std::vector<prometheus::MetricFamily>& families) const;
  // Calls `done` when the spans that wait are sent, or cannot be; perhaps twice.
  void end_tracing(std::function<void()> done);
  void begin_drain();
  void tend();
  void sweep_traffic();

  std::string config_path_;
  control::Config config_;
  Phase phase_ = Phase::Starting;
  std::uint64_t start_us_;
  std::uint64_t drain_began_ms_ = 0;  // monotonic
  int exit_status_ = 0;
  telemetry::LogFilter file_log_filter_;
  telemetry::LogFilter log_filter_;  // in force
  bool is_trim_due_ = false;
  std::vector<std::string> notes_;
  tls::EngineSupport engine_support_;
  proxy::Options options_;
  std::mt19937_64 random_{std::random_device{}()};  // which of several addresses of a name
  std::shared_ptr<const state::Snapshot> snapshot_;

  // In the order of making; destroyed the other way round.
  std::unique_ptr<telemetry::Log> log_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<ControlQueue> queue_;
  UniqueFd run_lock_;
  UniqueFd signals_;
  std::unique_ptr<datapath::Datapath> datapath_;
  std::unique_ptr<enroll::Enroller> enroller_;
  std::unique_ptr<tls::EmbeddedCa> ca_;  // null: a control plane's
  std::unique_ptr<control::ReactorScheduler> scheduler_;
  std::unique_ptr<control::EmbeddedCaSource> embedded_source_;  // this one or the next
  std::unique_ptr<control::IstioCa> istio_ca_;
  std::unique_ptr<control::CertificateManager> certificates_;
  std::unique_ptr<tls::ResumptionStore> resumption_store_;
  std::unique_ptr<tls::ResumptionIssuer> resumption_issuer_;
  TrustDomains trust_domains_;
  std::string idle_lists_;                       // issuers of lists that count for nobody, as last told
  std::unique_ptr<tls::Revocation> revocation_;  // null: nobody's certificate is taken back
  std::unique_ptr<telemetry::LabelBudget> label_budget_;
  std::unique_ptr<telemetry::SpanQueue> span_queue_;  // null, as the next two: no collector
  std::unique_ptr<WorkerSet> workers_;
  // Not lost to a full mailbox: a worker that is behind hears of the newest later.
  std::unique_ptr<UntilDone> post_snapshot_;
  std::unique_ptr<UntilDone> post_options_;
  std::unique_ptr<UntilDone> post_revocation_check_;
  std::unique_ptr<control::OtlpExporter> span_exporter_;
  std::unique_ptr<control::GrpcSpanSender> span_sender_;  // ends before the exporter, whose spans it sends
  std::unique_ptr<dns::Resolver> resolver_;
  std::unique_ptr<control::RevocationFile> revocation_file_;
  dns::Counters dns_counters_;
  std::unique_ptr<PodManager> pods_;
  std::unique_ptr<control::FileSource> source_;
  std::unique_ptr<control::XdsSource> xds_;  // null: the mesh is what the file says
  std::unique_ptr<ZdsPods> zds_pods_;        // null: no istio-cni
  std::unique_ptr<control::ZdsSession> zds_session_;
  std::unique_ptr<control::ZdsClient> zds_;
  std::unique_ptr<enroll::CniServer> cni_server_;
  std::unique_ptr<admin::Server> admin_server_;
};

}  // namespace culvert::app
