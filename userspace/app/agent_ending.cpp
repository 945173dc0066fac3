// SPDX-License-Identifier: Apache-2.0
// How the agent is told to read its configuration again, or to end: signals, and /quitquitquit of the local port.
#include <csignal>

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/agent.hpp"
#include "base/clock.hpp"

namespace culvert::app {

Result<void> Agent::watch_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail_errno(errno, "cannot make a signalfd");
  return reactor_->watch(signals_.get(), EPOLLIN, [this](std::uint32_t) {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      on_signal(static_cast<int>(info.ssi_signo));
    }
  });
}

void Agent::on_signal(int signal) {
  if (signal == SIGHUP) {
    log_->info("SIGHUP: reading the configuration again");
    source_->reload();
    if (revocation_file_ != nullptr) revocation_file_->reload();
  } else if (phase_ == Phase::Draining) {
    log_->warn("a second signal: ending now");
    reactor_->stop();
  } else {
    begin_drain();
  }
}

void Agent::begin_drain() {
  phase_ = Phase::Draining;
  drain_began_ms_ = monotonic_ms();
  pods_->set_draining();
  cni_server_.reset();
  zds_.reset();  // istio-cni goes on with the agent that takes over
  admin_server_->stop_accepting();
  log_->info("draining: live connections may go on for {} ms", config_.drain.timeout_ms);
  workers_->post_and_gather(
      [this](std::size_t, std::function<void()> done) -> proxy::ToWorker {
        return proxy::Drain{config_.drain.timeout_ms, std::move(done)};
      },
      [this] {
        log_->info("drained");
        end_tracing([this] { reactor_->stop(); });
      });
}

void Agent::shut_down() {
  if (phase_ != Phase::Draining) begin_drain();
}

}  // namespace culvert::app
