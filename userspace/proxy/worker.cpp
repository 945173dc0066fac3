// SPDX-License-Identifier: Apache-2.0
#include "proxy/worker.hpp"

#include <array>
#include <csignal>

#include <malloc.h>
#include <pthread.h>

#include "base/clock.hpp"
#include "core/busy_wait.hpp"
#include "core/cpu_sampler.hpp"
#include "core/netns.hpp"
#include "proxy/acceptor.hpp"
#include "proxy/admission.hpp"
#include "proxy/demands.hpp"
#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/inbound.hpp"
#include "proxy/leave.hpp"
#include "proxy/listing.hpp"
#include "proxy/outbound.hpp"
#include "proxy/relay.hpp"
#include "proxy/revocations.hpp"
#include "proxy/streams.hpp"
#include "proxy/tunnels.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Worker::Loop {
 public:
  Loop(unsigned index, const Options& options, Poller poller, datapath::SocketMarker marker, datapath::SynGate gate,
       Mailbox<ToWorker>& mailbox, telemetry::WorkerCounters& counters, telemetry::TrafficTable& traffic,
       telemetry::Log& log, UniqueFd home)
      : mailbox_(mailbox),
        state_(options, std::move(poller), marker, counters, traffic, log, std::move(home), monotonic_ms()),
        busy_wait_(options.busy_wait_ns),
        acceptor_(state_),
        outbound_(state_),
        inbound_(state_),
        admission_(state_),
        demands_(state_),
        tunnels_(state_),
        streams_(state_),
        relay_(state_),
        finisher_(state_),
        held_syns_(state_, gate),
        leave_(state_),
        revocations_(state_),
        listing_(state_) {
    state_.worker_index = index;
    state_.acceptor = &acceptor_;
    state_.outbound = &outbound_;
    state_.inbound = &inbound_;
    state_.admission = &admission_;
    state_.demands = &demands_;
    state_.tunnel_engine = &tunnels_;
    state_.streams = &streams_;
    state_.relay = &relay_;
    state_.finisher = &finisher_;
    state_.held = &held_syns_;
  }

  [[nodiscard]] int watch_mailbox() {
    return state_.poller.add(mailbox_.fd(), EPOLLIN, make_token(TokenKind::Mailbox, {}));
  }

  void run() {
    std::array<epoll_event, 256> space{};
    while (!is_stopped_) {
      const bool has_more = !state_.deferred.empty() || !state_.deferred_tunnels.empty() || streams_.has_dirty() ||
                            admission_.has_more() || revocations_.has_more() || listing_.has_more() ||
                            held_syns_.has_arrived() || state_.traffic.has_more_to_sweep();
      const int timeout = has_more ? 0 : state_.wheel.next_timeout_ms(state_.now_ms);
      std::span<epoll_event> events = busy_wait_.look(state_.poller, space, timeout);
      state_.counters.busy_wait_ns.set(busy_wait_.looked_ns());
      if (events.empty()) events = busy_wait_.sleep(state_.poller, space, timeout);
      state_.now_ms = monotonic_ms();
      for (const epoll_event& event : events) dispatch(event.data.u64, event.events);
      held_syns_.begin_arrived();
      run_deferred();
      run_timers();
      admission_.run();
      revocations_.run();
      listing_.run();
      open_held();
      streams_.flush_dirty();
      leave_.check();
      if (state_.traffic.has_more_to_sweep()) state_.traffic.sweep(state_.now_ms);
      trim_when_idle();
      state_.counters.buffers_lent_bytes.set(state_.buffers.lent_bytes());
    }
  }

 private:
  void dispatch(std::uint64_t token, std::uint32_t events) {
    const SlabHandle handle = token_handle(token);
    if (token_kind(token) != TokenKind::Mailbox) {
      last_active_ms_ = state_.now_ms;
      is_trimmed_ = false;
    }
    switch (token_kind(token)) {
      case TokenKind::Mailbox: mailbox_.drain([this](ToWorker message) { handle_message(std::move(message)); }); break;
      case TokenKind::Listener: acceptor_.on_event(handle); break;
      case TokenKind::Client: client_event(handle, events); break;
      case TokenKind::Upstream: upstream_event(handle, events); break;
      case TokenKind::Tunnel: tunnels_.on_event(handle, events); break;
      case TokenKind::SynRing: held_syns_.read_ring(); break;
      case TokenKind::FlowTimer:
      case TokenKind::TunnelTimer: break;
    }
  }

  void client_event(SlabHandle handle, std::uint32_t events) {
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) return;
    Relay::note_events(flow->client, events);
    if (flow->state == FlowState::Open && !(flow->waits_for_answer() && (events & EPOLLERR) != 0)) {
      relay_.run(handle);
    } else if ((events & EPOLLERR) != 0) {
      // The client gave up before it was connected.
      if (flow->state == FlowState::AwaitTunnel) tunnels_.stop_waiting(*flow);
      finisher_.abort(*flow, telemetry::CloseReason::ClientReset);
    }
  }

  void upstream_event(SlabHandle handle, std::uint32_t events) {
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) return;
    if (flow->state == FlowState::ConnectUpstream) {
      if (flow->is_inbound()) {
        inbound_.upstream_event(*flow, events);
      } else {
        outbound_.upstream_event(*flow, events);
      }
      return;
    }
    Relay::note_events(flow->upstream, events);
    relay_.run(handle);
  }

  void run_deferred() {
    std::vector<SlabHandle> turn;
    turn.swap(state_.deferred);
    for (const SlabHandle handle : turn) {
      Flow* flow = state_.flows.find(handle);
      if (flow == nullptr) continue;
      flow->is_deferred = false;
      relay_.run(handle);
    }
    std::vector<SlabHandle> tunnels;
    tunnels.swap(state_.deferred_tunnels);
    for (const SlabHandle handle : tunnels) {
      Tunnel* tunnel = state_.tunnels.find(handle);
      if (tunnel == nullptr) continue;
      tunnel->is_deferred = false;
      tunnels_.pump(handle);
    }
  }

  void run_timers() {
    fired_.clear();
    state_.wheel.advance(state_.now_ms, fired_);
    for (const std::uint64_t token : fired_) {
      const SlabHandle handle = token_handle(token);
      if (token_kind(token) == TokenKind::FlowTimer) {
        if (Flow* flow = state_.flows.find(handle);
            flow != nullptr && flow->deadline.fired(state_.wheel, token, state_.now_ms)) {
          relay_.on_timer(*flow);
        }
      } else if (Tunnel* tunnel = state_.tunnels.find(handle);
                 tunnel != nullptr && tunnel->deadline.fired(state_.wheel, token, state_.now_ms)) {
        tunnels_.on_timer(handle);
      }
    }
  }

  // Scratch memory, cached buffers and what handshakes left in the heap go back to the system once a worker has had nothing to move for a
  // while, whether or not connections are open.
  void trim_when_idle() {
    constexpr std::uint64_t kIdleMs = 3'000;
    if (is_trimmed_) return;
    if (state_.now_ms >= last_active_ms_ + kIdleMs) {
      state_.io.trim();
      state_.buffers.trim();
      ::malloc_trim(0);
      is_trimmed_ = true;
    } else if (trim_wake_ms_ <= state_.now_ms) {
      trim_wake_ms_ = last_active_ms_ + kIdleMs;
      state_.wheel.schedule(make_token(TokenKind::FlowTimer, {}), trim_wake_ms_);  // wakes the loop, no more
    }
  }

  void handle_message(ToWorker message) {
    std::visit([this](auto&& one) { on(std::forward<decltype(one)>(one)); }, std::move(message));
  }
  void on(AddPod&& message) {
    leave_.replace(message.setup.slot);
    state_.credentials[message.setup.identity] = message.setup.credentials;
    WorkerPod& pod = state_.pods.add(std::move(message.setup));
    admission_.pod_changed(pod);
    if (is_complete(pod)) return open(pod);
    pod.held_until_ms = state_.now_ms + kHoldMs;
    state_.wheel.schedule(make_token(TokenKind::FlowTimer, {}), pod.held_until_ms);  // wakes the loop
    ++held_;
  }
  void open(WorkerPod& pod) {
    if (!acceptor_.open(pod)) {
      state_.log.error("worker {} cannot watch the listeners of pod {}", state_.worker_index, pod.setup.id);
    }
  }
  // Everybody in the mesh is known, the control plane has named the pod, and its certificate is there: connections before that wait.
  [[nodiscard]] bool is_complete(const WorkerPod& pod) const {
    return is_mesh_known() && pod.is_named() && state_.credentials_of(pod) != nullptr;
  }
  [[nodiscard]] bool is_mesh_known() const { return state_.snapshot != nullptr && state_.snapshot->tells_who_is_not(); }
  // Pods that are complete by now, or that have waited long enough: what is in their listeners' queues is taken.
  void open_held() {
    if (held_ == 0) return;
    held_ = 0;
    state_.pods.for_each([this](WorkerPod& pod) {
      if (pod.held_until_ms == 0) return;
      if (!is_complete(pod) && !pod.is_leaving && state_.now_ms < pod.held_until_ms) {
        ++held_;
        return;
      }
      pod.held_until_ms = 0;
      if (pod.is_leaving || state_.is_draining) return;
      if (!is_mesh_known()) {
        state_.log.warn(
            "timed out waiting for the control plane's first answer; the connections of pod {} are refused until it "
            "comes",
            pod.setup.id);
      } else if (!pod.is_named()) {
        state_.log.warn("timed out waiting for workload {} from xds; its connections are refused until it comes",
                        pod.setup.uid);
      } else if (state_.credentials_of(pod) == nullptr) {
        state_.log.warn("timed out waiting for a certificate of {}; its mesh connections are refused until it comes",
                        pod.setup.identity.to_string());
      }
      open(pod);
    });
  }
  void on(UpdatePod&& message) {
    WorkerPod* pod = state_.pods.find(message.slot);
    if (pod == nullptr) return;
    pod->setup.addresses = std::move(message.addresses);
    pod->setup.answer_syn = message.answer_syn;
    held_syns_.follow(*pod);
    admission_.pod_changed(*pod);
  }
  void on(SetPodIdentity&& message) {
    WorkerPod* pod = state_.pods.find(message.slot);
    if (pod == nullptr) return;
    const SpiffeId before = std::exchange(pod->setup.identity, std::move(message.identity));
    state_.credentials[pod->setup.identity] = std::move(message.credentials);
    if (before != pod->setup.identity) {
      if (!state_.pods.has_identity(before)) state_.credentials.erase(before);
      // Those that are there have the old identity: none is used for another connection.
      state_.tunnel_engine->renew_pod(message.slot);
    }
    open_held();
  }
  void on(RemovePod&& message) { leave_.begin(std::move(message)); }
  void on(SetOptions&& message) {
    state_.options = std::move(message.options);
    busy_wait_.set_window_ns(state_.options.busy_wait_ns);
    state_.pool.set_idle_max(state_.options.pool_idle_max);
    tunnels_.set_handshake_rate(state_.options.server_handshakes_per_peer_s);
    held_syns_.follow_options();
  }
  void on(SetSnapshot&& message) {
    admission_.set_snapshot(std::move(message.snapshot));
    demands_.snapshot_changed();
    open_held();
  }
  void on(SetCredentials&& message) {
    if (!state_.pods.has_identity(message.identity)) return;  // its last pod has just left
    state_.credentials[message.identity] = std::move(message.credentials);
    open_held();
  }
  void on(CheckRevocation&&) { revocations_.begin(); }
  void on(ListConnections&& message) { listing_.begin(std::move(message)); }
  void on(SweepTraffic&& message) { state_.traffic.begin_sweep(message.expiry_ms); }
  void on(NameResolved&& message) { outbound_.name_resolved(message.flow, message.address); }
  void on(Drain&& message) { leave_.drain(std::move(message)); }
  void on(Stop&&) { is_stopped_ = true; }

  Mailbox<ToWorker>& mailbox_;
  WorkerState state_;
  BusyWait busy_wait_;
  Acceptor acceptor_;
  Outbound outbound_;
  Inbound inbound_;
  Admission admission_;
  Demands demands_;
  Tunnels tunnels_;
  Streams streams_;
  Relay relay_;
  Finisher finisher_;
  HeldSyns held_syns_;
  Leave leave_;
  Revocations revocations_;
  Listing listing_;
  // As long as ztunnel waits for what the control plane says of a new pod.
  static constexpr std::uint64_t kHoldMs = 5'000;
  std::size_t held_ = 0;  // pods whose listeners wait
  std::vector<std::uint64_t> fired_;
  std::uint64_t last_active_ms_ = 0;
  std::uint64_t trim_wake_ms_ = 0;
  bool is_trimmed_ = true;  // nothing was touched yet
  bool is_stopped_ = false;
};

Worker::Worker(telemetry::LabelBudget& budget) : mailbox_(kMailboxMax), traffic_(budget) {}

Result<std::unique_ptr<Worker>> Worker::start(unsigned index, const Options& options, datapath::SocketMarker marker,
                                              datapath::SynGate gate, telemetry::Log& log,
                                              telemetry::LabelBudget& budget) {
  std::unique_ptr<Worker> worker(new Worker(budget));
  if (auto opened = worker->mailbox_.open(); !opened) return std::unexpected(std::move(opened).error());
  Poller poller = CV_TRY(Poller::create());
  UniqueFd home = CV_TRY(open_current_netns());
  worker->loop_ = std::make_unique<Loop>(index, options, std::move(poller), marker, gate, worker->mailbox_,
                                         worker->counters_, worker->traffic_, log, std::move(home));
  if (const int error = worker->loop_->watch_mailbox(); error != 0) {
    return fail_errno(error, "cannot watch the mailbox of worker {}", index);
  }
  // Signals are the control thread's.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  CpuSampler::leave_out(all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  worker->thread_ = std::thread([loop = worker->loop_.get()] { loop->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(worker->thread_.native_handle(), fmt::format("culvert-w{}", index).c_str());
  return worker;
}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  while (!post(Stop{})) std::this_thread::yield();
  thread_.join();
}

}  // namespace culvert::proxy
