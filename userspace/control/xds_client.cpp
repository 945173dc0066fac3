// SPDX-License-Identifier: Apache-2.0
#include "control/xds_client.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include <grpcpp/grpcpp.h>
#include <malloc.h>

#include "control/xds_decode.hpp"
#include "control/xds_messages.hpp"
#include "control/xds_sender.hpp"
#include "proto/discovery.grpc.pb.h"

namespace culvert::control {
namespace {

namespace pb = envoy::service::discovery::v3;
using Clock = std::chrono::steady_clock;

constexpr int kEndMs = 500;
constexpr std::size_t kLargeBytes = std::size_t{4} << 20U;

std::size_t type_index(std::string_view url) noexcept {
  return url == kAddressType ? 0 : url == kAuthorizationType ? 1 : 2;
}

// Ends that say nothing about the control plane: it was restarted, or a proxy between went away.
bool is_reconnect(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED: return true;
    case grpc::StatusCode::UNAVAILABLE: {
      const std::string& text = status.error_message();
      return text.find("transport is closing") != std::string::npos ||
             text.find("received prior goaway") != std::string::npos ||
             text.find("Socket closed") != std::string::npos || text.find("GOAWAY") != std::string::npos;
    }
    default: return false;
  }
}

}  // namespace

std::string_view to_string(XdsEnd end) noexcept {
  switch (end) {
    case XdsEnd::ConnectionError: return "ConnectionError";
    case XdsEnd::Error: return "Error";
    case XdsEnd::Reconnect: return "Reconnect";
    case XdsEnd::Complete: return "Complete";
  }
  return "";
}

class XdsClient::Impl : public std::enable_shared_from_this<XdsClient::Impl> {
 public:
  Impl(const ControlPlaneConfig& config, const std::string& node_name, const std::string& cluster, Callbacks callbacks)
      : callbacks_(std::move(callbacks)), node_(make_node(config, node_name, cluster)) {
    endpoint_.address = config.xds_address;
    endpoint_.roots = config.xds_roots;
    endpoint_.alternative_name = config.xds_alternative_name;
    endpoint_.token = config.token;
    endpoint_.cluster = cluster;
    endpoint_.headers = config.xds_headers;
  }

  void start() {
    thread_ = std::thread([this] { run(); });
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      is_stopped_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    changed_.notify_all();
    thread_.join();
  }

  void send(XdsRequest request) {
    const std::lock_guard lock(mutex_);
    if (sender_ != nullptr) sender_->send(std::move(request));
  }
  [[nodiscard]] std::size_t backlog() {
    const std::lock_guard lock(mutex_);
    return sender_ == nullptr ? 0 : sender_->backlog();
  }
  [[nodiscard]] const XdsCounters& counters() const noexcept { return counters_; }

 private:
  void run() {
    XdsBackoff backoff;
    while (!is_stopped()) {
      std::string why;
      const XdsEnd end = run_stream(why);
      // Counted from its opening: connecting may take as long.
      const bool has_lived =
          end != XdsEnd::ConnectionError && Clock::now() - opened_at_ >= std::chrono::milliseconds(kSettledMs);
      counters_.is_connected = false;
      counters_.ended[static_cast<std::size_t>(end)].fetch_add(1);
      if (is_stopped()) return;
      static_cast<void>(ask([this, end, why] {
        callbacks_.ended(end, why);
        return true;
      }));
      pause(backoff.next_ms(end, has_lived));
    }
  }

  void pause(std::uint64_t ms) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return is_stopped_; });
  }

  [[nodiscard]] bool is_stopped() {
    const std::lock_guard lock(mutex_);
    return is_stopped_;
  }

  // Runs `task` on the control thread and waits for what it gives; nothing when the client stops.
  template <typename Task>
  auto ask(Task task) -> std::optional<decltype(task())> {
    using Answer = decltype(task());
    auto answer = std::make_shared<std::optional<Answer>>();
    callbacks_.post([self = shared_from_this(), answer, task = std::move(task)]() mutable {
      {
        const std::lock_guard lock(self->mutex_);
        if (self->is_stopped_) return;
      }
      Answer made = task();
      const std::lock_guard lock(self->mutex_);
      answer->emplace(std::move(made));
      self->changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_stopped_ || answer->has_value(); });
    return is_stopped_ ? std::nullopt : std::move(*answer);
  }

  // A channel that is connected, by the address's own name or else by the alternative one.
  std::shared_ptr<grpc::Channel> connect(std::string& why) {
    const int attempts = endpoint_.alternative_name.empty() ? 1 : 2;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      auto channel = make_channel(endpoint_, attempt == 1);
      if (!channel) {
        why = channel.error().message();
        return nullptr;
      }
      // By the clock that does not jump; each step is short, since the library's is the one that may.
      const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(kGrpcConnectTimeoutMs);
      grpc_connectivity_state state = (*channel)->GetState(true);
      while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE && !is_stopped() &&
             Clock::now() < deadline) {
        static_cast<void>(
            (*channel)->WaitForStateChange(state, std::chrono::system_clock::now() + std::chrono::milliseconds(200)));
        state = (*channel)->GetState(true);
      }
      if (state == GRPC_CHANNEL_READY) return *channel;
    }
    why = fmt::format("cannot connect to {}: nobody answers there, or with a certificate that {} does not vouch for",
                      endpoint_.address, endpoint_.roots.starts_with("-----") ? "the given root" : endpoint_.roots);
    return nullptr;
  }

  XdsEnd run_stream(std::string& why) {
    const std::shared_ptr<grpc::Channel> channel = connect(why);
    if (channel == nullptr) return XdsEnd::ConnectionError;
    grpc::ClientContext context;
    if (auto added = add_metadata(context, endpoint_); !added) {
      why = added.error().message();
      return XdsEnd::ConnectionError;
    }
    const auto stub = pb::AggregatedDiscoveryService::NewStub(channel);
    const std::unique_ptr<XdsSender::Stream> stream = open(*stub, context);
    if (stream == nullptr) return XdsEnd::Complete;
    XdsSender sender(*stream, node_);
    use(&sender);
    talk(*stream);
    use(nullptr);
    bool was_cut = false;
    const grpc::Status status = finish(*stream, context, was_cut);
    close();
    if (was_cut) {
      why = "the control plane sent something that is no message of discovery";
      return XdsEnd::Error;
    }
    if (status.ok()) return XdsEnd::Complete;
    why = fmt::format("{} (gRPC status {})", status.error_message(), static_cast<int>(status.error_code()));
    return is_reconnect(status) ? XdsEnd::Reconnect : XdsEnd::Error;
  }

  std::unique_ptr<XdsSender::Stream> open(pb::AggregatedDiscoveryService::Stub& stub, grpc::ClientContext& context) {
    {
      const std::lock_guard lock(mutex_);
      if (is_stopped_) return nullptr;
      context_ = &context;
    }
    opened_at_ = Clock::now();
    return stub.DeltaAggregatedResources(&context);
  }

  // What is no message ends the reading, not the stream, and the other side need not know: it gets a moment to end, and is then cut off.
  static grpc::Status finish(XdsSender::Stream& stream, grpc::ClientContext& context, bool& was_cut) {
    std::promise<void> ended;
    std::thread watch([&, future = ended.get_future()] {
      was_cut = future.wait_for(std::chrono::milliseconds(kEndMs)) == std::future_status::timeout;
      if (was_cut) context.TryCancel();
    });
    const grpc::Status status = stream.Finish();
    ended.set_value();
    watch.join();
    return status;
  }

  void use(XdsSender* sender) {
    const std::lock_guard lock(mutex_);
    sender_ = sender;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
  }

  // An answer; of refusals in a row those that come faster than kRefusalMsMin apart wait: the other side may answer a refusal with the
  // same again.
  void answer(XdsRequest request, Clock::time_point& refused_at, std::uint32_t& refusals) {
    if (request.error.empty()) {
      refusals = 0;
    } else {
      const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - refused_at).count();
      const auto wait_ms = static_cast<std::int64_t>(kRefusalMsMin) - since;
      if (++refusals > kRefusalsAtOnce && wait_ms > 0) pause(static_cast<std::uint64_t>(wait_ms));
      refused_at = Clock::now();
    }
    send(std::move(request));
  }

  void talk(XdsSender::Stream& stream) {
    Clock::time_point refused_at = Clock::now();
    std::uint32_t refusals = 0;
    auto requests = ask([this] { return callbacks_.opened(); });
    if (!requests) return;
    for (XdsRequest& request : *requests) send(std::move(request));
    pb::DeltaDiscoveryResponse response;
    while (stream.Read(&response)) {
      counters_.is_connected = true;
      const std::size_t bytes = response.ByteSizeLong();
      const std::size_t type = type_index(response.type_url());
      counters_.messages[type].fetch_add(1);
      counters_.bytes[type].fetch_add(bytes);
      for_each_piece(response, [&](const XdsUpdate& update) {
        // Only lent: what this thread has allocated it frees itself, so that the state shares no page of the heap with it. A task that is
        // stopped does not look at it any more.
        auto made = ask([this, &update] { return callbacks_.received(update); });
        if (!made) return false;
        if (*made) answer(std::move(**made), refused_at, refusals);
        return true;
      });
      response.Clear();
      if (bytes >= kLargeBytes) {
        response = pb::DeltaDiscoveryResponse();
        ::malloc_trim(0);
      }
    }
  }

  Callbacks callbacks_;
  GrpcEndpoint endpoint_;
  pb::Node node_;
  XdsCounters counters_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopped_ = false;
  grpc::ClientContext* context_ = nullptr;  // of the open stream
  XdsSender* sender_ = nullptr;             // of it
  Clock::time_point opened_at_;             // the last stream; the thread's own
  std::thread thread_;
};

XdsClient::XdsClient(const ControlPlaneConfig& config, const std::string& node_name, const std::string& cluster,
                     Callbacks callbacks)
    : impl_(std::make_shared<Impl>(config, node_name, cluster, std::move(callbacks))) {
  impl_->start();
}

XdsClient::~XdsClient() { impl_->stop(); }

void XdsClient::send(XdsRequest request) { impl_->send(std::move(request)); }

std::size_t XdsClient::backlog() const { return impl_->backlog(); }

const XdsCounters& XdsClient::counters() const noexcept { return impl_->counters(); }

}  // namespace culvert::control
