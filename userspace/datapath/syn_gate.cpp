// SPDX-License-Identifier: Apache-2.0
#include "datapath/syn_gate.hpp"

#include <cerrno>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include "culvert/abi/syn.h"

namespace culvert::datapath {
namespace {

// Of the socket, for its life; 0: it cannot be had.
std::uint64_t cookie_of(int socket_fd) noexcept {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  return ::getsockopt(socket_fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

SynRing::~SynRing() {
  if (rings_fd_ >= 0) bpf_map_delete_elem(rings_fd_, &worker_);
}

void SynRing::Free::operator()(ring_buffer* ring) const noexcept { ring_buffer__free(ring); }

unsigned SynRing::drain(unsigned count_max) {
  left_ = count_max;
  ring_buffer__consume(ring_.get());
  return count_max - left_;
}

// A negative answer ends the round, this sample counted in.
int SynRing::on_sample(void* context, void* data, std::size_t bytes) {
  auto& self = *static_cast<SynRing*>(context);
  const auto* event = static_cast<const cv_syn_event*>(data);
  if (bytes >= CV_SYN_EVENT_HEADER_BYTES && event->packet_bytes <= bytes - CV_SYN_EVENT_HEADER_BYTES)
    self.handler_(event->slot, ByteView(event->packet, event->packet_bytes));
  return --self.left_ == 0 ? -ECANCELED : 0;
}

Result<std::unique_ptr<SynRing>> SynGate::open_ring(std::uint32_t worker, SynRing::Handler handler) const {
  if (rings_fd_ < 0) return fail(ErrorCode::Unsupported, "SYNs cannot be held: the agent runs without programs");
  if (worker >= CV_WORKERS_MAX)
    return fail(ErrorCode::InvalidArgument, "SYNs can be held for {} workers, and this is number {}", CV_WORKERS_MAX,
                worker + 1);
  std::unique_ptr<SynRing> made(new SynRing(std::move(handler)));
  made->map_fd_.reset(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "cv_syn_ring", 0, 0, CV_SYN_RING_BYTES, nullptr));
  if (!made->map_fd_) return fail_errno(errno, "cannot make a ring of {} bytes for held SYNs", CV_SYN_RING_BYTES);
  made->ring_.reset(ring_buffer__new(made->map_fd_.get(), &SynRing::on_sample, made.get(), nullptr));
  if (made->ring_ == nullptr) return fail_errno(errno, "cannot map the ring for held SYNs");
  const int ring_fd = made->map_fd_.get();
  if (bpf_map_update_elem(rings_fd_, &worker, &ring_fd, BPF_ANY) != 0)
    return fail_errno(errno, "cannot give worker {} a ring for held SYNs", worker);
  made->rings_fd_ = rings_fd_;
  made->worker_ = worker;
  return made;
}

int SynGate::hold(int listener_fd, std::uint32_t slot, std::uint32_t worker) const noexcept {
  if (program_fd_ < 0) return EOPNOTSUPP;
  const std::uint64_t cookie = cookie_of(listener_fd);
  const cv_syn_listener listener{.slot = slot, .worker = worker};
  if (cookie == 0) return ENOTSOCK;
  if (bpf_map_update_elem(listeners_fd_, &cookie, &listener, BPF_ANY) != 0) return errno;
  if (::setsockopt(listener_fd, SOL_SOCKET, SO_ATTACH_BPF, &program_fd_, sizeof(program_fd_)) == 0) return 0;
  const int error = errno;
  bpf_map_delete_elem(listeners_fd_, &cookie);
  return error;
}

void SynGate::release(int listener_fd) const noexcept {
  pass_all(listener_fd);
  const std::uint64_t cookie = cookie_of(listener_fd);
  if (listeners_fd_ >= 0 && cookie != 0) bpf_map_delete_elem(listeners_fd_, &cookie);
}

void SynGate::close(UniqueFd& listener) const noexcept {
  const std::uint64_t cookie = cookie_of(listener.get());
  listener.reset();
  if (listeners_fd_ >= 0 && cookie != 0) bpf_map_delete_elem(listeners_fd_, &cookie);
}

void SynGate::pass_all(int accepted_fd) noexcept {
  const int ignored = 0;
  (void)::setsockopt(accepted_fd, SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof(ignored));
}

}  // namespace culvert::datapath
