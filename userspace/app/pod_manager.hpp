// SPDX-License-Identifier: Apache-2.0
// PodManager: joining and leaving as one piece: identity and certificate, enrolment, the workers' listeners, and the end of the
// last connection. The CNI socket, `culvertctl`, the configuration's pods and a restart all come through here. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "admin/provider.hpp"
#include "app/worker_set.hpp"
#include "base/clock.hpp"
#include "control/certificate_manager.hpp"
#include "control/config.hpp"
#include "core/reactor.hpp"
#include "core/until_done.hpp"
#include "dns/proxy.hpp"
#include "enroll/enroller.hpp"
#include "enroll/pod_service.hpp"
#include "telemetry/log.hpp"

namespace culvert::app {

class PodManager final : public enroll::PodService {
 public:
  // Everything outlives the manager. `config` is read at each call, so that a reload takes effect.
  struct Parts {
    const control::Config* config;
    Reactor* reactor;
    enroll::Enroller* enroller;
    control::CertificateManager* certificates;
    WorkerSet* workers;
    telemetry::Log* log;
    // The pod's DNS, answered from within its namespace; null: this agent does not capture it.
    std::function<Result<std::unique_ptr<dns::Proxy>>(const enroll::PodSpec&, UniqueFd netns)> open_dns;
  };
  explicit PodManager(Parts parts)
      : parts_(std::move(parts)),
        post_credentials_(*parts_.reactor, WorkerSet::kRetryMs, [this] { return post_credentials(); }) {}

  // enroll::PodService
  [[nodiscard]] Result<enroll::JoinAnswer> join(enroll::PodSpec spec, UniqueFd netns) override;
  [[nodiscard]] Result<void> check(const std::string& id) override;
  [[nodiscard]] Result<void> leave(const std::string& id) override;
  // Leaves with its connections cut.
  [[nodiscard]] Result<void> leave_now(const std::string& id) { return leave(id, 0); }
  [[nodiscard]] Result<void> gc(const cni::GcRequest& request) override;
  [[nodiscard]] cni::Membership is_in_mesh(const cni::PodName& pod) override;
  [[nodiscard]] Result<void> is_ready() override;

  // At the start: pods of an earlier agent, then those of the configuration. What fails is logged, tried again by `tend`, and shown.
  void adopt();
  // Pods of the configuration join, those that it lists no longer leave (with the drain time), and those that it lists otherwise than
  // before join again. A pod that the CNI plugin or a person has joined is theirs, listed or not.
  void follow_configuration();
  // Pods whose namespace has gone leave; what failed to join or to be adopted is tried again.
  void tend();
  // What the mesh says of the pods may have changed. Before the workers hear of the snapshot, so that they know each pod's identity in time.
  void set_snapshot(std::shared_ptr<const state::Snapshot> snapshot);
  // A certificate of `identity` is there or was renewed.
  void credentials_changed(const SpiffeId& identity);
  // Called whenever the set of joined pods has changed.
  void on_change(std::function<void()> changed) { changed_ = std::move(changed); }
  void set_ready() noexcept { is_ready_ = true; }
  void set_draining() noexcept { is_draining_ = true; }

  [[nodiscard]] std::vector<admin::Pod> list() const;
  [[nodiscard]] std::vector<std::uint32_t> slots() const;
  [[nodiscard]] bool is_joined(const std::string& id) const;
  [[nodiscard]] std::size_t failed() const noexcept { return failed_.size(); }
  // Pods that the workers were given since the start, and those of them that they no longer have.
  [[nodiscard]] std::uint64_t started() const noexcept { return started_; }
  [[nodiscard]] std::uint64_t stopped() const noexcept { return started_ - joined_.size(); }

 private:
  // As long as an agent that starts waits for the control plane's first word on the pods that it has taken over.
  static constexpr std::uint64_t kFirstWordMs = 2'000;
  struct Joined {
    SpiffeId identity;
    std::uint32_t slot = 0;
    bool holds_certificate = false;  // of `identity`; false: the control plane has not named it yet
    bool is_leaving = false;
    std::uint64_t leave = 0;          // which one it is that it leaves by
    std::unique_ptr<dns::Proxy> dns;  // may be null
    std::optional<SpiffeId> next;     // will be its identity when there is a certificate of it, and is held until then
  };
  enum class Origin : std::uint8_t { Adoption, File };
  struct Failure {
    std::string why;
    Origin origin;
  };
  // Logs it unless the same was said before. True when it was news.
  bool note_failure(const std::string& id, std::string why, Origin origin);
  void join_listed(const control::PodConfig& pod);
  void forget_unlisted();
  [[nodiscard]] Result<void> leave(const std::string& id, std::uint64_t drain_ms);
  [[nodiscard]] Result<void> serve(enroll::Pod pod);
  [[nodiscard]] Result<std::unique_ptr<dns::Proxy>> open_dns(const enroll::Pod& pod) const;
  // pod_identity.cpp
  [[nodiscard]] bool is_in_cluster() const noexcept;
  [[nodiscard]] std::string control_plane_uid(const enroll::PodSpec& spec) const;
  // Of its workload in a mesh that does not name it (publish_local_workloads).
  [[nodiscard]] std::string local_uid(const enroll::PodSpec& spec) const;
  // Nothing is done for it, and no certificate asked for, before the control plane has named it.
  [[nodiscard]] bool waits_for_name(const enroll::PodSpec& spec) const noexcept;
  // It may be taken for one of the configured trust domain while the control plane does not name it.
  [[nodiscard]] bool may_guess(const enroll::PodSpec& spec) const;
  // As the control plane has it; null: no control plane, or it has not named it.
  [[nodiscard]] const state::WorkloadEntry* workload_of(const enroll::PodSpec& spec) const;
  [[nodiscard]] Result<SpiffeId> identity_of(const enroll::PodSpec& spec) const;
  void follow_control_plane();
  [[nodiscard]] bool post_credentials();
  void release_certificates(const Joined& joined);
  // False: nothing has changed.
  bool take_trust_domain(Joined& joined, const std::string& trust_domain);
  void add_exclusions(enroll::PodSpec& spec, const control::Exclusions& exclusions) const;
  void finish_leave(const std::string& id, std::uint64_t number);
  // What is done about a pod that the enroller could not join (again), and about one that it joined and the workers do not have.
  void join_failed(const std::string& id, const Error& error);
  void serve_failed(const std::string& id, std::uint32_t slot, bool was_captured, const Error& error);
  // The pod stays captured, and its new connections wait: it is taken over as an earlier agent's would be.
  void adopt_later(const std::string& id, const Error& error);
  void plan_adoption();
  // The workers let go of a pod at once, and nothing here knows it any more.
  void forget(const std::string& id);
  // Joining leaves the hooks in a form that is quick to make; once no pod has joined for a moment they get the one that they
  // keep, one pod at a time.
  void settle_later();
  void settle(std::uint64_t after_ms);
  void changed() const {
    if (changed_) changed_();
  }

  Parts parts_;
  std::shared_ptr<const state::Snapshot> snapshot_;  // under a control plane
  std::uint64_t guess_after_ms_ = monotonic_ms() + kFirstWordMs;
  std::unordered_map<std::string, Joined> joined_;
  std::uint64_t started_ = 0;
  std::uint64_t leaves_ = 0;
  std::unordered_map<std::string, Failure> failed_;               // by id
  std::unordered_map<std::string, control::PodConfig> in_force_;  // of the file's joined pods, as they were listed
  std::uint64_t adopt_again_ms_ = 0;                              // 0: nothing failed
  std::uint64_t adopt_wait_ms_ = 0;
  std::function<void()> changed_;
  std::unordered_set<SpiffeId> new_credentials_;  // of which some worker has not heard yet
  UntilDone post_credentials_;
  std::uint64_t settle_at_ms_ = 0;  // not before; every join moves it on
  bool is_settling_ = false;        // a timer runs
  bool will_follow_ = false;        // at the next turn of the loop
  bool is_ready_ = false;
  bool is_draining_ = false;
};

}  // namespace culvert::app
