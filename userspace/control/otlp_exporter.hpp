// SPDX-License-Identifier: Apache-2.0
// OtlpExporter: spans leave the queue in batches, one call at a time, and what a collector cannot take now is offered again later, at growing intervals.
// While it is, the queue fills, and what finds no place is lost and counted; nobody waits. The calls themselves are a SpanSender's. Control thread
// only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "control/otlp_messages.hpp"
#include "control/scheduler.hpp"
#include "telemetry/span_queue.hpp"

namespace culvert::control {

class SpanSender {
 public:
  using Answered = std::function<void(ExportAnswer)>;

  virtual ~SpanSender() = default;
  // One call at a time. `request` stays as it is until `answered` is called, on the control thread and not from within; never, when the sender is
  // destroyed before.
  virtual void send(const ExportRequest& request, Answered answered) = 0;
};

struct ExportCounters {
  std::uint64_t sent = 0;      // spans that a collector took
  std::uint64_t rejected = 0;  // spans that it refused for good
  std::uint64_t failures = 0;  // calls that failed
};

class OtlpExporter {
 public:
  static constexpr std::size_t kBatch = 512;  // spans of one call
  static constexpr std::uint64_t kPauseMsMin = 1'000;
  static constexpr std::uint64_t kPauseMsMax = 30'000;

  struct Options {
    HeaderList resource;
    std::uint64_t interval_ms = 5'000;  // between calls while there are fewer than `call_at` spans
    std::size_t call_at = kBatch;       // 1..kBatch; as the queue was told to wake at
  };
  struct Callbacks {
    std::function<void(const std::string& why)> failed;  // once for each new reason
    std::function<void()> recovered;                     // after `failed`: spans are taken again
  };

  // All outlive the exporter.
  OtlpExporter(Options options, Callbacks callbacks, telemetry::SpanQueue& queue, SpanSender& sender,
               Scheduler& scheduler);
  ~OtlpExporter();
  OtlpExporter(const OtlpExporter&) = delete;
  OtlpExporter& operator=(const OtlpExporter&) = delete;

  // The queue's descriptor is readable: a batch is there.
  void on_queue();
  // Everything that waits is sent now; `done` is called when it is, or when a call has failed. Once, and not from within.
  void flush(std::function<void()> done);
  [[nodiscard]] const ExportCounters& counters() const noexcept { return counters_; }

 private:
  void set_timer(std::uint64_t after_ms);
  void on_timer();
  void begin();
  void send();
  void answered(const ExportAnswer& answer);
  void tell(const std::string& why);
  void end_batch();
  void end_flush();

  Options options_;
  Callbacks callbacks_;
  telemetry::SpanQueue& queue_;
  SpanSender& sender_;
  Scheduler& scheduler_;
  ExportCounters counters_;
  std::unique_ptr<ExportRequest> batch_;  // being sent, or to be sent again; null: none
  std::size_t batch_spans_ = 0;
  bool is_called_ = false;  // a call is under way
  std::uint64_t pause_ms_ = kPauseMsMin;
  Scheduler::TimerId timer_ = 0;  // 0: none
  std::string told_;              // the last reason; empty: all is well
  std::function<void()> flushed_;
};

}  // namespace culvert::control
