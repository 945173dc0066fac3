// SPDX-License-Identifier: Apache-2.0
#include "proxy/acceptor.hpp"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>

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

// Closes it with a reset.
void reset(UniqueFd fd) noexcept {
  const linger at_once{1, 0};
  if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

}  // namespace

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

void Acceptor::on_event(SlabHandle listener) {
  const std::uint32_t slot = listener.index;
  const ListenerKind kind = listener_kind(listener);
  for (unsigned count = 0; count < kAcceptsPerTurn; ++count) {
    WorkerPod* pod = state_.pods.find(slot);  // handling one connection may have closed the pod
    if (pod == nullptr) return;
    int listener_fd = -1;
    for (const ListenerRef& candidate : listeners_of(*pod)) {
      if (candidate.kind == kind && candidate.is_v6 == listener_is_v6(listener)) listener_fd = candidate.fd->get();
    }
    if (listener_fd < 0) return;
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    UniqueFd fd(::accept4(listener_fd, reinterpret_cast<sockaddr*>(&address), &length, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        state_.counters.accept_errors.add();
        refuse_one(listener_fd);
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

void Acceptor::refuse_one(int listener_fd) {
  state_.spare_fd.reset();
  reset(UniqueFd(::accept4(listener_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
  state_.spare_fd.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace culvert::proxy
