// SPDX-License-Identifier: Apache-2.0
#include "control/zds_client.hpp"

#include <algorithm>
#include <utility>

#include <sys/epoll.h>

#include "core/netns.hpp"
#include "core/seqpacket.hpp"

namespace culvert::control {
namespace {

constexpr std::uint64_t kConnectWaitMsMin = 10;
constexpr std::uint64_t kConnectWaitMsMax = 15'000;
constexpr double kConnectJitter = 0.2;  // of the wait, either way
constexpr std::uint64_t kPodRetryMs = 5'000;

}  // namespace

ZdsClient::ZdsClient(std::string socket_path, Reactor& reactor, Scheduler& scheduler, ZdsSession& session,
                     Callbacks callbacks)
    : socket_path_(std::move(socket_path)),
      reactor_(reactor),
      scheduler_(scheduler),
      session_(session),
      callbacks_(std::move(callbacks)) {}

ZdsClient::~ZdsClient() {
  if (connect_timer_ != 0) scheduler_.cancel(connect_timer_);
  if (is_retrying_) scheduler_.cancel(retry_timer_);
  close();
}

void ZdsClient::start() {
  if (!std::exchange(is_started_, true)) connect();
}

void ZdsClient::connect() {
  connect_timer_ = 0;
  auto socket = connect_seqpacket(socket_path_);
  if (!socket) return lose(socket.error().message());
  socket_ = std::move(*socket);
  if (auto watched = reactor_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { readable(); }); !watched) {
    return lose(watched.error().message());
  }
  session_.connected();
  if (!answer(make_zds_hello())) return;
  callbacks_.connected();
}

// One message for each turn of the loop: a snapshot of many pods leaves room for everything else.
void ZdsClient::readable() {
  Packet packet;
  switch (receive_packet(socket_.get(), kZdsPacketBytesMax, packet)) {
    case ReceiveStatus::WouldBlock: return;
    case ReceiveStatus::Closed: return lose("istio-cni has closed the connection");
    case ReceiveStatus::Packet: break;
  }
  wait_ms_ = 0;
  last_loss_.clear();
  if (packet.is_truncated) {
    return protocol_error(
        Error(ErrorCode::Protocol, fmt::format("a packet of more than {} bytes", kZdsPacketBytesMax)));
  }
  auto request = parse_zds_request(packet.text, packet.has_lost_fds ? packet.fds.size() + 1 : packet.fds.size());
  if (!request) return protocol_error(request.error());
  const std::string who =
      fmt::format("{}/{} ({})", request->workload.namespace_name, request->workload.name, request->workload.uid);
  NetnsId id;
  UniqueFd netns;
  if (request->kind == ZdsRequest::Kind::Add) {
    if (packet.fds.empty()) {  // the kernel had no number for it
      const std::string why = "the agent has no descriptor left for a network namespace; raise limits.open_files";
      callbacks_.not_started(fmt::format("pod {} cannot be served, istio-cni is told so: {}", who, why));
      if (answer(make_zds_ack(why))) lose(why);  // with the next connection everything comes again
      return;
    }
    netns = std::move(packet.fds.front());
    const auto found = netns_id(netns.get());
    if (found) id = *found;
  }
  auto taken = session_.take(std::move(*request), std::move(netns), id);
  if (!taken) return protocol_error(taken.error());
  if (!taken->empty()) {
    callbacks_.not_started(fmt::format("pod {} cannot be served, istio-cni is told so: {}", who, *taken));
    retry_later();
  }
  static_cast<void>(answer(make_zds_ack(*taken)));
}

bool ZdsClient::answer(std::string_view packet) {
  if (send_packet(socket_.get(), packet)) return true;
  lose("istio-cni does not read what it is answered");
  return false;
}

void ZdsClient::retry_later() {
  if (std::exchange(is_retrying_, true)) return;
  retry_timer_ = scheduler_.after_ms(kPodRetryMs, [this] {
    is_retrying_ = false;
    if (session_.retry()) retry_later();
  });
}

void ZdsClient::lose(const std::string& why) {
  close();
  const double jitter = 1.0 + kConnectJitter * (2.0 * scheduler_.random() - 1.0);
  wait_ms_ = std::clamp(wait_ms_ * 2, kConnectWaitMsMin, kConnectWaitMsMax);
  connect_timer_ = scheduler_.after_ms(
      std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(wait_ms_) * jitter)),
      [this] { connect(); });
  if (std::exchange(last_loss_, why) != why) callbacks_.lost(why);
}

void ZdsClient::close() noexcept {
  if (socket_) reactor_.unwatch(socket_.get());
  socket_.reset();
  session_.disconnected();
}

void ZdsClient::protocol_error(const Error& error) {
  close();
  callbacks_.protocol_error(error);
}

}  // namespace culvert::control
