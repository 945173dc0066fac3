// SPDX-License-Identifier: Apache-2.0
// SynGate: keeps the kernel from answering the SYNs that come to a listener, and gives them to the listener's worker instead (bpf/syn.bpf.c). A
// copy of the agent's program and map descriptors: usable from any worker while the Datapath lives; a ring belongs to one worker's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

struct ring_buffer;

namespace culvert::datapath {

// The SYNs that were held for one worker. Bounded in the kernel; what does not fit is answered at once and never seen here.
class SynRing {
 public:
  // A SYN for a listener of the pod in `slot`: from the IP header on, without payload, checksums perhaps unfinished. The bytes are a pod's:
  // anything can be in them. They are valid during the call.
  using Handler = std::function<void(std::uint32_t slot, ByteView packet)>;
  ~SynRing();
  SynRing(const SynRing&) = delete;
  SynRing& operator=(const SynRing&) = delete;

  // Readable, level-triggered, while SYNs wait.
  [[nodiscard]] int fd() const noexcept { return map_fd_.get(); }
  // Hands over what waits, `count_max` at most; how many that were. `count_max` is above 0.
  unsigned drain(unsigned count_max);

 private:
  friend class SynGate;
  explicit SynRing(Handler handler) : handler_(std::move(handler)) {}
  static int on_sample(void* context, void* data, std::size_t bytes);
  struct Free {
    void operator()(ring_buffer* ring) const noexcept;
  };

  Handler handler_;
  UniqueFd map_fd_;
  std::unique_ptr<ring_buffer, Free> ring_;
  unsigned left_ = 0;
  int rings_fd_ = -1;  // of the gate: where the filter finds this ring; -1: it does not yet
  std::uint32_t worker_ = 0;
};

class SynGate {
 public:
  SynGate() noexcept = default;  // there are no programs: nothing can be held
  SynGate(int program_fd, int listeners_fd, int rings_fd) noexcept
      : program_fd_(program_fd), listeners_fd_(listeners_fd), rings_fd_(rings_fd) {}

  // Where the filter puts the SYNs of the worker's listeners from now on. `worker` is below 256.
  [[nodiscard]] Result<std::unique_ptr<SynRing>> open_ring(std::uint32_t worker, SynRing::Handler handler) const;
  // SYNs that come to this listener are held, for the ring of `worker`. 0 or an errno: they are answered at once, as before.
  [[nodiscard]] int hold(int listener_fd, std::uint32_t slot, std::uint32_t worker) const noexcept;
  // Answers at once again.
  void release(int listener_fd) const noexcept;
  // Closes the listener, which answers nothing on the way.
  void close(UniqueFd& listener) const noexcept;
  // Of a socket that a listener accepted: spares it the filter.
  static void pass_all(int accepted_fd) noexcept;

 private:
  int program_fd_ = -1;
  int listeners_fd_ = -1;
  int rings_fd_ = -1;
};

}  // namespace culvert::datapath
