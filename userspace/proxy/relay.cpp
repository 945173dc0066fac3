// SPDX-License-Identifier: Apache-2.0
#include "proxy/relay.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>

#include "proxy/finisher.hpp"
#include "proxy/inbound.hpp"
#include "proxy/outbound.hpp"
#include "proxy/streams.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

constexpr std::uint8_t kReadShiftMin = 14;  // 16 KiB
constexpr std::uint8_t kReadShiftMax = 18;  // 256 KiB, one batch of records
constexpr std::size_t kReadWhenExhausted = 4096;

}  // namespace

void Relay::note_events(Side& side, std::uint32_t events) noexcept {
  if ((events & EPOLLIN) != 0) side.is_readable = true;
  if ((events & EPOLLOUT) != 0) side.is_writable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    side.is_readable = true;
    side.has_hangup = true;
  }
  if ((events & EPOLLERR) != 0) side.has_error = side.is_writable = true;  // the next write learns what happened
}

std::size_t Relay::read_size(const Side& side) const noexcept {
  return state_.buffers.is_exhausted() ? kReadWhenExhausted : std::size_t{1} << side.read_shift;
}

ByteView Relay::read_some(Side& side) {
  const std::size_t wanted = read_size(side);
  const MutableBytes space = state_.io.plain_scratch().first(wanted);
  const iovec part{space.data(), space.size()};
  return space.first(read_into(side, {&part, 1}, wanted));
}

std::size_t Relay::read_into(Side& side, std::span<const iovec> parts, std::size_t wanted) noexcept {
  const ssize_t got = parts.size() == 1 ? ::recv(side.fd.get(), parts[0].iov_base, parts[0].iov_len, 0)
                                        : ::readv(side.fd.get(), parts.data(), static_cast<int>(parts.size()));
  if (got < 0) {
    side.is_readable = errno == EINTR;
    if (errno != EAGAIN && errno != EINTR) side.has_failed = true;
    return 0;
  }
  if (got == 0) {
    side.is_at_eof = true;
    side.is_readable = false;
    return 0;
  }
  const auto size = static_cast<std::size_t>(got);
  if (size == wanted) {
    side.read_shift = std::min<std::uint8_t>(static_cast<std::uint8_t>(side.read_shift + 1U), kReadShiftMax);
  } else {
    // A short read empties the queue; what comes later is a new edge. After a hang-up no edge comes for the FIN.
    if (!side.has_hangup) side.is_readable = false;
    if (size < wanted / 4 && side.read_shift > kReadShiftMin) --side.read_shift;
  }
  return size;
}

void Relay::write_some(Side& side, ByteView data) {
  while (!data.empty() && side.is_writable && side.out.empty()) {
    const ssize_t sent = ::send(side.fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      side.is_writable = false;
      if (errno != EAGAIN) {
        side.has_failed = true;
        return;
      }
      break;
    }
    if (static_cast<std::size_t>(sent) < data.size()) side.is_writable = false;
    data = data.subspan(static_cast<std::size_t>(sent));
  }
  if (!data.empty()) state_.buffers.append(side.out, data);
}

void Relay::flush(Side& side) {
  while (!side.out.empty() && side.is_writable && !side.has_failed) {
    const ByteView data = side.out.filled();
    const ssize_t sent = ::send(side.fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      side.is_writable = false;
      if (errno != EAGAIN) side.has_failed = true;
      return;
    }
    if (static_cast<std::size_t>(sent) < data.size()) side.is_writable = false;
    side.out.consume(static_cast<std::size_t>(sent));
  }
}

void Relay::deliver(Flow& flow, ByteView data) {
  Side& side = flow.plain();
  count_bytes(flow, flow.is_inbound(), data.size());
  if (side.has_failed) return;
  if (flow.state == FlowState::Open) {
    write_some(side, data);
  } else {
    state_.buffers.append(side.out, data);
  }
}

ByteView Relay::read_first(Flow& flow) {
  Side& side = flow.plain();
  if (!side.is_readable || side.is_at_eof || side.has_failed) return {};
  const ByteView data = read_some(side);
  if (!data.empty()) count_bytes(flow, !flow.is_inbound(), data.size());
  return data;
}

void Relay::plain_to_tunnel(Flow& flow, Tunnel& tunnel) {
  if (flow.waits_for_answer()) return;
  Side& side = flow.plain();
  if (!flow.spill.empty() && !tunnel.socket.wants_write()) {
    const std::size_t sent = state_.tunnel_engine->send_data(tunnel, flow.spill.filled());
    flow.spill.consume(sent);
  }
  unsigned reads = 0;
  while (side.is_readable && !side.is_at_eof && !side.has_failed && flow.spill.empty() && tunnel.may_send() &&
         !tunnel.socket.wants_write()) {
    if (++reads > kReadsPerTurn) {
      state_.defer(flow);
      return;
    }
    if (may_splice(side, tunnel)) {
      splice_to_tunnel(flow, tunnel);
      continue;
    }
    const ByteView data = read_some(side);
    if (data.empty()) continue;
    count_bytes(flow, !flow.is_inbound(), data.size());
    const std::size_t sent = state_.tunnel_engine->send_data(tunnel, data);
    if (sent < data.size()) state_.buffers.append(flow.spill, data.subspan(sent));
  }
  if (side.is_at_eof && flow.spill.empty() && !flow.is_end_sent && tunnel.may_send()) {
    flow.is_end_sent = true;
    state_.tunnel_engine->send_end(tunnel);
  }
}

// Kernel records and a flow that fills large reads, unless configured otherwise.
bool Relay::may_splice(const Side& side, const Tunnel& tunnel) const noexcept {
  if (!tunnel.socket.can_splice() || tunnel.owes_accept) return false;
  if (state_.options.splice == tls::SpliceChoice::Auto) return side.read_shift == kReadShiftMax;
  return state_.options.splice == tls::SpliceChoice::Always;
}

// The bytes need not come through user space.
void Relay::splice_to_tunnel(Flow& flow, Tunnel& tunnel) {
  constexpr std::size_t kSpliceBytesMax = std::size_t{1} << 20U;
  Side& side = flow.plain();
  const tls::IoResult result = tunnel.socket.splice_from(state_.io, side.fd.get(), kSpliceBytesMax);
  count_bytes(flow, !flow.is_inbound(), result.bytes);
  state_.counters.splice_bytes.add(result.bytes);
  switch (result.status) {
    case tls::IoStatus::Ok: break;
    case tls::IoStatus::WouldBlock:
      if (tunnel.socket.wants_write()) break;
      // The application has no more for now: its next bytes may be few.
      side.is_readable = false;
      side.read_shift = kReadShiftMin;
      if (side.has_hangup) side.is_readable = true;
      break;
    case tls::IoStatus::Eof:
      side.is_readable = false;
      if (result.sys_errno != 0) {
        side.has_failed = true;  // the application's RST, and no end of its own
      } else {
        side.is_at_eof = true;
      }
      break;
    case tls::IoStatus::Truncated:
    case tls::IoStatus::Error: state_.tunnel_engine->send_failed(tunnel, result); break;
  }
}

void Relay::copy(Flow& flow, Side& from, Side& to, bool is_client_to_server) {
  flush(to);
  unsigned reads = 0;
  while (from.is_readable && !from.is_at_eof && !from.has_failed && to.out.empty() && !to.has_failed) {
    if (++reads > kReadsPerTurn) {
      state_.defer(flow);
      return;
    }
    const ByteView data = read_some(from);
    if (data.empty()) continue;
    count_bytes(flow, is_client_to_server, data.size());
    write_some(to, data);
  }
  pass_on_eof(to, from.is_at_eof);
}

void Relay::pass_on_eof(Side& to, bool is_source_finished) {
  if (!is_source_finished || to.is_fin_sent || !to.out.empty() || to.has_failed) return;
  to.is_fin_sent = true;
  // When the other direction is finished too, closing the socket sends the FIN: one call less.
  if (!to.is_at_eof) ::shutdown(to.fd.get(), SHUT_WR);
}

void Relay::run(SlabHandle handle) {
  Flow* flow = state_.flows.find(handle);
  if (flow == nullptr || flow->state != FlowState::Open) return;
  if (!flow->goes_through_tunnel()) {
    copy(*flow, flow->client, flow->upstream, true);
    copy(*flow, flow->upstream, flow->client, false);
    await_reset(*flow);
    finish_if_done(*flow);
    return;
  }
  Side& side = flow->plain();
  flush(side);
  if (Tunnel* tunnel = state_.tunnels.find(flow->tunnel); tunnel != nullptr && tunnel->hbone != nullptr) {
    state_.streams->settle(*flow, *tunnel);
    state_.streams->move(*flow, *tunnel);
    if (flow->is_end_sent && flow->is_end_received) state_.streams->detach(*flow, *tunnel);
  } else if (tunnel != nullptr) {
    plain_to_tunnel(*flow, *tunnel);
    state_.tunnel_engine->pump(tunnel->self);
    flow = state_.flows.find(handle);  // the tunnel may have ended it
    if (flow == nullptr || flow->state == FlowState::AwaitClient) return;
    if (tunnel = state_.tunnels.find(flow->tunnel); tunnel != nullptr) {
      state_.tunnel_engine->detach_if_done(*tunnel, *flow);
      if (flow = state_.flows.find(handle); flow == nullptr) return;
    }
  }
  pass_on_eof(flow->plain(), flow->is_end_received);
  await_reset(*flow);
  finish_if_done(*flow);
}

namespace {

constexpr std::uint64_t kResetWaitMs = 5'000;

// Of a side that has ended before there is no more to learn, and a tunnel that is done with is another's.
bool has_reset(const Flow& flow) noexcept {
  const auto is_reset = [](const Side& side) { return side.has_error && !side.is_at_eof; };
  return is_reset(flow.client) || is_reset(flow.upstream) || (flow.has_tunnel_error && flow.tunnel != SlabHandle{});
}

// Grows with every byte that one side has taken from the other.
std::uint64_t taken_bytes(const Flow& flow) noexcept {
  const std::uint64_t kept = flow.client.out.size() + flow.upstream.out.size() + flow.spill.size();
  return flow.received_bytes + flow.sent_bytes - kept;
}

}  // namespace

// What came before the RST goes to the other side first, which may have stopped to read.
void Relay::await_reset(Flow& flow) {
  if (flow.state != FlowState::Open || flow.is_reset_awaited || !has_reset(flow)) return;
  if (flow.client.has_failed || flow.upstream.has_failed) return;
  flow.is_reset_awaited = true;
  flow.need_details().taken_at_reset = taken_bytes(flow);
  state_.set_deadline(flow, kResetWaitMs);
}

void Relay::on_timer(Flow& flow) {
  if (flow.is_reset_awaited && flow.state == FlowState::Open) {
    reset_overdue(flow);
  } else if (flow.is_inbound()) {
    state_.inbound->on_timer(flow);
  } else {
    state_.outbound->on_timer(flow);
  }
}

void Relay::reset_overdue(Flow& flow) {
  const std::uint64_t taken = taken_bytes(flow);
  if (!has_reset(flow)) {
    flow.is_reset_awaited = false;
  } else if (std::exchange(flow.need_details().taken_at_reset, taken) != taken) {
    state_.set_deadline(flow, kResetWaitMs);
  } else {
    const CloseReason reason = flow.client.has_error     ? CloseReason::ClientReset
                               : flow.upstream.has_error ? CloseReason::ServerReset
                                                         : CloseReason::TunnelBroken;
    state_.finisher->abort(flow, reason, "what it had sent before was not taken");
  }
}

void Relay::finish_if_done(Flow& flow) {
  if (flow.client.has_failed || flow.upstream.has_failed) {
    state_.finisher->abort(flow, flow.client.has_failed ? CloseReason::ClientReset : CloseReason::ServerReset);
    return;
  }
  const auto is_done = [](const Side& side) { return side.is_at_eof && side.is_fin_sent; };
  if (flow.goes_through_tunnel()) {
    if (is_done(flow.plain()) && flow.is_end_sent && flow.is_end_received) state_.finisher->complete(flow);
  } else if (is_done(flow.client) && is_done(flow.upstream)) {
    state_.finisher->complete(flow);
  }
}

}  // namespace culvert::proxy
