// SPDX-License-Identifier: Apache-2.0
#include "proxy/acceptor.hpp"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "proxy/held_syns.hpp"
#include "proxy/inbound.hpp"
#include "proxy/outbound.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

struct ListenerRef {
  UniqueFd* fd;
  ListenerKind kind;
  bool is_v6;
};

std::array<ListenerRef, 6> listeners_of(WorkerPod& pod) noexcept {
  enroll::PodListeners& all = pod.setup.listeners;
  return {{{&all.v4.outbound, ListenerKind::Outbound, false},
           {&all.v4.inbound_plaintext, ListenerKind::InboundPlaintext, false},
           {&all.v4.tunnel, ListenerKind::Tunnel, false},
           {&all.v6.outbound, ListenerKind::Outbound, true},
           {&all.v6.inbound_plaintext, ListenerKind::InboundPlaintext, true},
           {&all.v6.tunnel, ListenerKind::Tunnel, true}}};
}

constexpr SlabHandle kAlarm{0, 0};  // no pod has slot 0
constexpr long kLookAwayNs = 100'000'000;

// Closes it with a reset.
void reset(UniqueFd fd) noexcept {
  const linger at_once{1, 0};
  if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

}  // namespace

Acceptor::Acceptor(WorkerState& state) noexcept
    : state_(state), alarm_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  const std::uint64_t token = make_token(TokenKind::Listener, kAlarm);
  if (alarm_ && state_.poller.add(alarm_.get(), EPOLLIN, token) != 0) alarm_.reset();
}

bool Acceptor::open(WorkerPod& pod) {
  for (const ListenerRef& listener : listeners_of(pod)) {
    if (!listener.fd->is_open()) continue;
    const std::uint64_t token =
        make_token(TokenKind::Listener, listener_handle(pod.setup.slot, listener.kind, listener.is_v6));
    if (state_.poller.add(listener.fd->get(), EPOLLIN, token) != 0) return false;
  }
  state_.held->open(pod);
  return true;
}

void Acceptor::close(WorkerPod& pod) {
  state_.held->close(pod);
  for (const ListenerRef& listener : listeners_of(pod)) {
    if (!listener.fd->is_open()) continue;
    state_.poller.remove(listener.fd->get());
    listener.fd->reset();
  }
}

UniqueFd* Acceptor::find(SlabHandle listener) const noexcept {
  WorkerPod* pod = state_.pods.find(listener.index);
  if (pod == nullptr) return nullptr;
  for (const ListenerRef& one : listeners_of(*pod)) {
    const bool is_it = one.kind == listener_kind(listener) && one.is_v6 == listener_is_v6(listener);
    if (is_it && one.fd->is_open()) return one.fd;
  }
  return nullptr;
}

void Acceptor::on_event(SlabHandle listener) {
  if (listener == kAlarm) return look_again();
  const std::uint32_t slot = listener.index;
  const ListenerKind kind = listener_kind(listener);
  for (unsigned count = 0; count < kAcceptsPerTurn; ++count) {
    WorkerPod* pod = state_.pods.find(slot);  // handling one connection may have closed the pod
    const UniqueFd* found = find(listener);
    if (pod == nullptr || found == nullptr) return;
    const int listener_fd = found->get();
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    UniqueFd fd(::accept4(listener_fd, reinterpret_cast<sockaddr*>(&address), &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        state_.counters.accept_errors.add();
        if (!refuse_one(listener_fd)) look_away(listener, listener_fd);
      }
      return;
    }
    if (fd.get() >= state_.options.descriptors_end) {
      state_.counters.accept_errors.add();
      reset(std::move(fd));
      continue;
    }
    const Endpoint remote = Endpoint::from_sockaddr(address);
    switch (kind) {
      case ListenerKind::Outbound: state_.outbound->accept(*pod, std::move(fd), remote); break;
      case ListenerKind::InboundPlaintext: state_.inbound->accept_plaintext(*pod, std::move(fd), remote); break;
      case ListenerKind::Tunnel: state_.tunnel_engine->accept(*pod, std::move(fd), remote); break;
    }
  }
}

void Acceptor::take_waiting(std::uint32_t slot) {
  for (const ListenerKind kind : {ListenerKind::Outbound, ListenerKind::InboundPlaintext}) {
    for (const bool is_v6 : {false, true}) on_event(listener_handle(slot, kind, is_v6));
  }
}

bool Acceptor::refuse_one(int listener_fd) noexcept {
  state_.spare_fd.reset();
  UniqueFd refused(::accept4(listener_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  const bool is_done = refused || errno == EAGAIN;
  reset(std::move(refused));
  // Another thread may have been quicker; `look_again` tries once more.
  state_.spare_fd.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return is_done;
}

void Acceptor::look_away(SlabHandle listener, int listener_fd) {
  const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = kLookAwayNs}};
  if (!alarm_ || (looked_away_.empty() && ::timerfd_settime(alarm_.get(), 0, &once, nullptr) != 0)) return;
  if (state_.poller.modify(listener_fd, 0, make_token(TokenKind::Listener, listener)) != 0) return;
  looked_away_.push_back(listener);
}

void Acceptor::look_again() {
  std::uint64_t times = 0;
  [[maybe_unused]] const auto taken = ::read(alarm_.get(), &times, sizeof(times));
  if (!state_.spare_fd) state_.spare_fd.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const SlabHandle listener : std::exchange(looked_away_, {})) {
    const UniqueFd* found = find(listener);
    if (found == nullptr) continue;  // the pod has left
    [[maybe_unused]] const int error =
        state_.poller.modify(found->get(), EPOLLIN, make_token(TokenKind::Listener, listener));
  }
}

}  // namespace culvert::proxy
