// SPDX-License-Identifier: Apache-2.0
// The bytes of HBONE streams. Payload is read from the application straight to where it is sealed from, with gaps for the frame headers in
// between; on receive it goes from where it was opened straight to the application. No copy is made unless a socket is full.
#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <sys/uio.h>

#include "base/assert.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

constexpr std::size_t kHeader = hbone::Session::kFrameHeaderBytes;
// In front of the frames: room for control bytes, so that they leave in the same records.
constexpr std::size_t kControlRoom = 4096;
// RFC 9113 section 6.5.2: no peer takes less than 16 KiB in a frame, so this many frames fill the scratch memory.
constexpr std::size_t kFramesMax = tls::IoContext::kBatchBytesMax / 16'384 + 1;
constexpr unsigned kReadsPerTurn = 2;  // of one stream: its siblings wait behind the same socket
constexpr std::size_t kEarlyBytesMax = 64 * 1024;

// The peer has not said yet whether it takes the connection: what is sent is kept as well.
bool is_unanswered(const Flow& flow) noexcept { return flow.role == FlowRole::Outbound && !flow.is_answered; }

// Payload bytes that fit `area_bytes` in frames of `frame` payload bytes and a shorter last one, each behind a gap for its header.
constexpr std::size_t payload_room(std::size_t area_bytes, std::size_t frame) noexcept {
  return area_bytes - kHeader * ((area_bytes + frame + kHeader - 1) / (frame + kHeader));
}
static_assert(payload_room(2 * (16'384 + kHeader), 16'384) == 2 * 16'384);
static_assert(payload_room(16'384 + kHeader + 100, 16'384) == 16'384 + 100 - kHeader);

// Calls `visit` with the place of each frame's payload in `area`; `payload` bytes in all, which fit.
template <typename Visit>
void for_each_payload(MutableBytes area, std::size_t frame, std::size_t payload, Visit visit) {
  for (std::size_t at = kHeader; payload > 0; at += frame + kHeader) {
    const std::size_t part = std::min(frame, payload);
    visit(area.subspan(at, part));
    payload -= part;
  }
}

}  // namespace

void Streams::on_data(hbone::StreamId stream, ByteView data) {
  HboneTunnel& hbone = *current_->hbone;
  Flow* flow = find(stream);
  if (flow == nullptr) return hbone.session->consume_connection(data.size());
  const std::size_t kept_before = flow->plain().out.size();
  flow->unread_bytes += static_cast<std::uint32_t>(data.size());
  state_.relay->deliver(*flow, data);
  // The connection's window is open for the siblings whatever this stream's reader does, while there is memory for what it leaves.
  const std::size_t kept = flow->plain().out.size() - kept_before;
  if (kept > 0 && state_.buffers.is_exhausted()) {
    if (!std::exchange(hbone.is_withholding, true)) withholding_.push_back(current_->self);
    flow->withheld_bytes += static_cast<std::uint32_t>(kept);
    hbone.session->consume_connection(data.size() - kept);
    // Windows bound each stream and each tunnel, and not all of them together. Who holds no less than others do gives way
    // (a block has up to twice the bytes that are in it).
    const bool holds_much = 2 * flow->plain().out.size() >= state_.buffers.lent_bytes() / state_.flows.size();
    if (holds_much && state_.buffers.is_overdrawn(state_.options.hbone.connection_window)) {
      overdrawn_.push_back(flow->self);
    }
  } else {
    hbone.session->consume_connection(data.size());
  }
  settle(*flow, *current_);
  if (flow->plain().has_failed) touched_.push_back(flow->self);
}

void Streams::settle(Flow& flow, Tunnel& tunnel) {
  const std::size_t kept = flow.plain().out.size();
  if (flow.unread_bytes > kept) {
    tunnel.hbone->session->consume_stream(flow.stream, flow.unread_bytes - kept);
    flow.unread_bytes = static_cast<std::uint32_t>(kept);
  }
  give_back(flow, *tunnel.hbone, kept);
  if (tunnel.hbone->session->wants_write()) mark_dirty(tunnel);
}

// To the connection's window, all that the flow withholds of it but `kept`.
void Streams::give_back(Flow& flow, HboneTunnel& hbone, std::size_t kept) {
  if (flow.withheld_bytes <= kept) return;
  hbone.session->consume_connection(flow.withheld_bytes - kept);
  flow.withheld_bytes = static_cast<std::uint32_t>(kept);
}

void Streams::release_withheld() {
  if (withholding_.empty() || state_.buffers.is_exhausted()) return;
  for (const SlabHandle handle : std::exchange(withholding_, {})) {
    Tunnel* tunnel = state_.tunnels.find(handle);
    if (tunnel == nullptr) continue;
    tunnel->hbone->is_withholding = false;
    for (const SlabHandle one : tunnel->hbone->flows) {
      if (Flow* flow = state_.flows.find(one)) give_back(*flow, *tunnel->hbone, 0);
    }
    mark_dirty(*tunnel);
  }
}

bool Streams::is_socket_full(const Tunnel& tunnel) const noexcept {
  const HboneTunnel& hbone = *tunnel.hbone;
  return !hbone.out.empty() || (tunnel.socket.wants_write() && !hbone.is_first_send);
}

bool Streams::may_send(const Flow& flow) const noexcept {
  if (!is_unanswered(flow)) return true;
  return !flow.waits_for_answer() && state_.options.hbone_early_data && flow.early.size() < kEarlyBytesMax;
}

void Streams::block(Flow& flow, Tunnel& tunnel) {
  if (flow.is_blocked) return;
  flow.is_blocked = true;
  tunnel.hbone->blocked.push_back(flow.self);
}

void Streams::run_blocked(SlabHandle handle) {
  Tunnel* tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr || tunnel->hbone->blocked.empty()) return;
  std::vector<SlabHandle> turn = std::exchange(tunnel->hbone->blocked, {});
  for (std::size_t i = 0; i < turn.size(); ++i) {
    if (tunnel = state_.tunnels.find(handle); tunnel == nullptr) return;
    if (is_socket_full(*tunnel)) {
      // Those that had no turn are first next time.
      tunnel->hbone->blocked.insert(tunnel->hbone->blocked.begin(), turn.begin() + static_cast<std::ptrdiff_t>(i),
                                    turn.end());
      return;
    }
    Flow* flow = state_.flows.find(turn[i]);
    if (flow == nullptr || !(flow->tunnel == handle)) continue;  // it has ended, or moved to another tunnel
    flow->is_blocked = false;
    state_.relay->run(turn[i]);
  }
}

void Streams::writable(Tunnel& tunnel) {
  const SlabHandle handle = tunnel.self;
  flush(tunnel);
  if (tunnel.may_send() && !is_socket_full(tunnel)) run_blocked(handle);
  // One that goes away may have waited for nothing else.
  Tunnel* const still = state_.tunnels.find(handle);
  if (still != nullptr && still->is_going_away && still->hbone != nullptr && still->hbone->flows.empty())
    mark_dirty(*still);
}

void Streams::move(Flow& flow, Tunnel& tunnel) {
  if (flow.stream == 0 || flow.is_end_sent || !tunnel.may_send()) return;
  Side& side = flow.plain();
  unsigned reads = 0;
  while (may_send(flow)) {
    const bool has_more = !flow.spill.empty() || (side.is_readable && !side.is_at_eof && !side.has_failed);
    if (!has_more) break;
    if (is_socket_full(tunnel)) {
      block(flow, tunnel);
      return;
    }
    const std::size_t window = tunnel.hbone->session->send_window(flow.stream);
    if (window == 0) {
      // An update of its own window tells it, one of the connection's tells those on the list.
      if (tunnel.hbone->session->connection_window() == 0) block(flow, tunnel);
      return;
    }
    if (++reads > kReadsPerTurn) {
      state_.defer(flow);
      return;
    }
    if (!(flow.spill.empty() ? send_read(flow, tunnel) : send_spill(flow, tunnel))) return;
  }
  if (side.is_at_eof && flow.spill.empty() && may_send(flow) && tunnel.may_send()) {
    flow.is_end_sent = true;
    tunnel.hbone->session->finish(flow.stream);
    mark_dirty(tunnel);
  }
}

// What waited for a tunnel, or was sent on one that did not look at it.
bool Streams::send_spill(Flow& flow, Tunnel& tunnel) {
  const hbone::Session& session = *tunnel.hbone->session;
  const MutableBytes area = state_.io.plain_scratch().subspan(kControlRoom);
  const std::size_t frame = session.frame_payload_max();
  const std::size_t payload =
      std::min({flow.spill.size(), session.send_window(flow.stream), payload_room(area.size(), frame)});
  ByteView from = flow.spill.filled();
  for_each_payload(area, frame, payload, [&from](MutableBytes place) {
    std::copy_n(from.data(), place.size(), place.data());
    from = from.subspan(place.size());
  });
  flow.spill.consume(payload);
  send_framed(flow, tunnel, area, payload);
  return tunnel.may_send();
}

bool Streams::send_read(Flow& flow, Tunnel& tunnel) {
  const hbone::Session& session = *tunnel.hbone->session;
  Side& side = flow.plain();
  const MutableBytes area = state_.io.plain_scratch().subspan(kControlRoom);
  const std::size_t frame = session.frame_payload_max();
  std::size_t wanted =
      std::min({state_.relay->read_size(side), session.send_window(flow.stream), payload_room(area.size(), frame)});
  if (is_unanswered(flow)) wanted = std::min(wanted, kEarlyBytesMax - flow.early.size());
  std::array<iovec, kFramesMax> parts;
  std::size_t count = 0;
  for_each_payload(area, frame, wanted, [&](MutableBytes place) { parts[count++] = {place.data(), place.size()}; });
  const std::size_t got = state_.relay->read_into(side, {parts.data(), count}, wanted);
  if (got == 0) return true;  // the flags say why; the loop looks at them
  count_bytes(flow, !flow.is_inbound(), got);
  send_framed(flow, tunnel, area, got);
  return tunnel.may_send();
}

void Streams::send_framed(Flow& flow, Tunnel& tunnel, MutableBytes area, std::size_t payload_bytes) {
  hbone::Session& session = *tunnel.hbone->session;
  std::array<std::uint8_t, kControlRoom> control;
  std::size_t used = session.take_control(control);
  while (session.wants_write()) {  // more than the room: it leaves first
    send_bytes(tunnel, {control.data(), used});
    used = session.take_control(control);
    if (used == 0) break;
  }
  const std::size_t ready = session.frame_data(flow.stream, area, payload_bytes);
  if (ready == 0) {  // the peer has closed the stream: Events tells, or has told
    if (used > 0) send_bytes(tunnel, {control.data(), used});
    return;
  }
  if (is_unanswered(flow)) {
    for_each_payload(area, session.frame_payload_max(), payload_bytes,
                     [&](ByteView place) { state_.buffers.append(flow.early, place); });
  }
  std::uint8_t* begin = area.data() - used;
  std::copy_n(control.data(), used, begin);
  send_bytes(tunnel, {begin, used + ready});
  tunnel.hbone->answer_due_ms = 0;  // it has left with these
}

// Bytes that are on their way, or that nobody will take any more.
std::size_t Streams::send_some(Tunnel& tunnel, ByteView bytes) {
  const tls::IoResult result = tunnel.socket.send(state_.io, {{tls::RecordType::ApplicationData, bytes}});
  tunnel.hbone->is_first_send = false;
  if (result.status != tls::IoStatus::Error) return result.bytes;
  state_.tunnel_engine->send_failed(tunnel, result);
  return bytes.size();
}

void Streams::send_bytes(Tunnel& tunnel, ByteView bytes) {
  if (bytes.empty() || !tunnel.may_send()) return;
  const std::size_t sent = is_socket_full(tunnel) ? 0 : send_some(tunnel, bytes);
  if (sent < bytes.size()) state_.buffers.append(tunnel.hbone->out, bytes.subspan(sent));
}

void Streams::flush(Tunnel& tunnel) {
  HboneTunnel& hbone = *tunnel.hbone;
  hbone.answer_due_ms = 0;
  if (!hbone.out.empty() && !tunnel.socket.wants_write()) hbone.out.consume(send_some(tunnel, hbone.out.filled()));
  while (hbone.session->wants_write() && tunnel.may_send() && !is_socket_full(tunnel)) {
    std::array<std::uint8_t, 16'384> control;
    const std::size_t used = hbone.session->take_control(control);
    if (used == 0) return;
    send_bytes(tunnel, {control.data(), used});
  }
}

}  // namespace culvert::proxy
