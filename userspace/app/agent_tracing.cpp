// SPDX-License-Identifier: Apache-2.0
// The Agent and its spans: where they go, what is told of them in metrics, and the last ones at the end. Control thread. Without a collector nothing
// of this is made.
#include <algorithm>

#include "app/agent.hpp"
#include "base/clock.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::app {
namespace {

constexpr std::uint64_t kFlushMsMin = 500;
constexpr std::uint64_t kFlushMsMax = 2'000;

// OpenTelemetry's names; what the environment says comes last, and last is what counts.
control::HeaderList resource_of(const control::Config& config) {
  control::HeaderList resource = {{"service.name", config.tracing.service_name},
                                  {"service.version", CULVERT_VERSION},
                                  {"service.instance.id", config.node_name},
                                  {"k8s.node.name", config.node_name},
                                  {"k8s.cluster.name", config.cluster}};
  if (!config.control_plane.pod_name.empty()) resource.emplace_back("k8s.pod.name", config.control_plane.pod_name);
  if (!config.control_plane.pod_namespace.empty())
    resource.emplace_back("k8s.namespace.name", config.control_plane.pod_namespace);
  for (const auto& [key, value] : config.tracing.resource) {
    std::erase_if(resource, [&key](const auto& one) { return one.first == key; });
    resource.emplace_back(key, value);
  }
  return resource;
}

// Spans at which the exporter calls before its time.
std::size_t call_at(const control::TracingConfig& tracing) {
  return std::min<std::size_t>(control::OtlpExporter::kBatch, tracing.queued_spans_max);
}

}  // namespace

Result<void> Agent::open_span_queue() {
  const control::TracingConfig& tracing = config_.tracing;
  if (tracing.endpoint.empty()) return {};
  span_queue_ = CV_TRY(telemetry::SpanQueue::create(tracing.queued_spans_max, call_at(tracing)));
  return {};
}

Result<void> Agent::open_tracing() {
  if (span_queue_ == nullptr) return {};
  const control::TracingConfig& tracing = config_.tracing;
  control::GrpcEndpoint endpoint;
  endpoint.address = tracing.endpoint;
  endpoint.roots = tracing.roots;
  endpoint.token.clear();
  endpoint.cluster.clear();
  endpoint.headers = tracing.headers;
  // An answer is a few words. The library holds a message against its limit when it has all of it: the channel's memory has a limit too.
  endpoint.receive_bytes_max = 64 << 10;
  endpoint.memory_bytes_max = 8U << 20U;
  span_sender_ = std::make_unique<control::GrpcSpanSender>(
      std::move(endpoint), tracing.timeout_ms, [this](std::function<void()> task) { queue_->post(std::move(task)); });
  control::OtlpExporter::Callbacks callbacks;
  callbacks.failed = [this](const std::string& why) {
    log_->warn("spans are not taken by {}: {}", config_.tracing.endpoint, why);
  };
  callbacks.recovered = [this] { log_->info("spans are taken by {} again", config_.tracing.endpoint); };
  span_exporter_ = std::make_unique<control::OtlpExporter>(
      control::OtlpExporter::Options{
          .resource = resource_of(config_), .interval_ms = tracing.export_interval_ms, .call_at = call_at(tracing)},
      std::move(callbacks), *span_queue_, *span_sender_, *scheduler_);
  return reactor_->watch(span_queue_->fd(), EPOLLIN, [this](std::uint32_t) { span_exporter_->on_queue(); });
}

proxy::Tracing Agent::tracing_options() const {
  return {.queue = span_queue_.get(), .share = config_.tracing.share, .follows_parent = config_.tracing.follows_parent};
}

void Agent::add_tracing(telemetry::Families& families) const {
  const auto append = [&](const char* name, const char* help, std::uint64_t value) {
    families.push_back(telemetry::counter_family(name, help));
    telemetry::add(families.back(), {}, static_cast<double>(value));
  };
  const control::ExportCounters& counters = span_exporter_->counters();
  append("culvert_spans_exported_total", "spans that the collector took", counters.sent);
  append("culvert_span_export_failures_total", "calls of the collector that failed", counters.failures);
  auto dropped = telemetry::counter_family("culvert_spans_dropped_total", "spans that were lost, by reason");
  telemetry::add(dropped, {{"reason", "queue_full"}}, static_cast<double>(span_queue_->dropped()));
  telemetry::add(dropped, {{"reason", "rejected"}}, static_cast<double>(counters.rejected));
  families.push_back(std::move(dropped));
  families.push_back(telemetry::gauge_family("culvert_spans_queued", "spans that wait for the collector"));
  telemetry::add(families.back(), {}, static_cast<double>(span_queue_->size()));
}

// No collector holds the next agent up: a short time, within what the drain has left where that is as much, and no second attempt.
void Agent::end_tracing(std::function<void()> done) {
  if (span_exporter_ == nullptr) return done();
  const std::uint64_t limit_ms = config_.drain.timeout_ms;
  const std::uint64_t gone_ms = std::min(monotonic_ms() - drain_began_ms_, limit_ms);
  const std::uint64_t left_ms = std::clamp(limit_ms - gone_ms, kFlushMsMin, kFlushMsMax);
  // Whoever comes second finds the agent stopping already.
  reactor_->after_ms(left_ms, done);
  span_exporter_->flush(std::move(done));
}

}  // namespace culvert::app
