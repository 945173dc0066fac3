// SPDX-License-Identifier: Apache-2.0
#include "control/otlp_exporter.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "proto/otlp_collector.pb.h"

namespace culvert::control {

OtlpExporter::OtlpExporter(Options options, Callbacks callbacks, telemetry::SpanQueue& queue, SpanSender& sender,
                           Scheduler& scheduler)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      queue_(queue),
      sender_(sender),
      scheduler_(scheduler) {
  set_timer(options_.interval_ms);
}

OtlpExporter::~OtlpExporter() {
  if (timer_ != 0) scheduler_.cancel(timer_);
}

void OtlpExporter::set_timer(std::uint64_t after_ms) {
  if (timer_ != 0) scheduler_.cancel(timer_);
  timer_ = scheduler_.after_ms(after_ms, [this] {
    timer_ = 0;
    on_timer();
  });
}

void OtlpExporter::on_timer() {
  if (batch_ != nullptr) return send();
  begin();
}

void OtlpExporter::on_queue() {
  queue_.acknowledge();
  if (batch_ == nullptr) begin();
}

void OtlpExporter::begin() {
  const std::vector<telemetry::Span> spans = queue_.take(kBatch);
  if (spans.empty()) return end_batch();
  batch_ = std::make_unique<ExportRequest>();
  batch_spans_ = spans.size();
  write_spans(spans, options_.resource, *batch_);
  send();
}

void OtlpExporter::send() {
  if (timer_ != 0) scheduler_.cancel(std::exchange(timer_, 0));
  is_called_ = true;
  sender_.send(*batch_, [this](const ExportAnswer& answer) { answered(answer); });
}

void OtlpExporter::answered(const ExportAnswer& answer) {
  is_called_ = false;
  if (answer.outcome == ExportAnswer::Outcome::Retry) {
    ++counters_.failures;
    tell(answer.why);
    // Half of it is chance, so that the agents of a cluster do not come back all at once.
    const auto pause = static_cast<std::uint64_t>(static_cast<double>(pause_ms_) * (0.5 + 0.5 * scheduler_.random()));
    pause_ms_ = std::min(2 * pause_ms_, kPauseMsMax);
    set_timer(std::max(pause, answer.retry_after_ms.value_or(0)));
    return end_flush();
  }
  pause_ms_ = kPauseMsMin;
  if (answer.outcome == ExportAnswer::Outcome::Refused) {
    ++counters_.failures;
    counters_.rejected += batch_spans_;
    tell(answer.why);
  } else {
    const std::uint64_t rejected = std::min<std::uint64_t>(answer.rejected_spans, batch_spans_);
    counters_.rejected += rejected;
    counters_.sent += batch_spans_ - rejected;
    if (rejected != 0) {
      tell(answer.why.empty() ? "some spans were rejected" : answer.why);
    } else if (!std::exchange(told_, {}).empty()) {
      callbacks_.recovered();
    }
  }
  batch_.reset();
  if (answer.outcome == ExportAnswer::Outcome::Refused && flushed_) return end_flush();
  if (flushed_ || queue_.size() >= options_.call_at) return begin();
  end_batch();
}

void OtlpExporter::tell(const std::string& why) {
  if (std::exchange(told_, why) != why) callbacks_.failed(why);
}

// Nothing is under way: the next look at the queue.
void OtlpExporter::end_batch() {
  set_timer(options_.interval_ms);
  end_flush();
}

void OtlpExporter::flush(std::function<void()> done) {
  flushed_ = std::move(done);
  if (is_called_) return;
  if (batch_ != nullptr) return send();
  begin();
}

void OtlpExporter::end_flush() {
  if (!flushed_) return;
  scheduler_.after_ms(0, std::exchange(flushed_, nullptr));
}

}  // namespace culvert::control
