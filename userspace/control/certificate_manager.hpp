// SPDX-License-Identifier: Apache-2.0
// CertificateManager: one certificate for each identity that some local pod holds, or that is expected here. Asked for when the first pod
// comes or before, eight at once, the most urgent first; replaced at half its life (with jitter); asked for again with growing pauses
// after a failure, and the old one serves until it expires. Live connections notice nothing. Nothing is kept of an identity that nobody holds
// or expects any more. Control thread only; it knows neither OpenSSL nor the clock itself.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/spiffe_id.hpp"
#include "control/certificate_queue.hpp"
#include "control/certificate_source.hpp"
#include "control/scheduler.hpp"

namespace culvert::control {

struct CertificateStatus {
  enum class State : std::uint8_t { Initializing, Available, Unavailable };

  SpiffeId identity;
  State state = State::Initializing;
  std::string error;           // of the last attempt when that failed; Available with an error still serves the old one
  std::string serial_decimal;  // of the certificate in use; empty when there is none
  std::int64_t not_before_s = 0;  // Unix seconds
  std::int64_t not_after_s = 0;
  std::int64_t rotates_at_s = 0;  // when the next is asked for
};
// "initializing", "available", "unavailable: WHY".
[[nodiscard]] std::string to_string(const CertificateStatus& status);

class CertificateManager {
 public:
  using Changed = std::function<void(const SpiffeId&, std::shared_ptr<const tls::Credentials>)>;
  // Failed attempts, once for each new reason.
  using Failed = std::function<void(const SpiffeId&, const Error&)>;

  // The first retry comes after kRetryMsFirst, the next ones after 1 s, 2 s, 4 s … kRetryMsMax; each a fifth more or less.
  static constexpr std::uint64_t kRetryMsFirst = 500;
  static constexpr std::uint64_t kRetryMsMax = 150'000;
  static constexpr std::size_t kParallelMax = 8;
  static constexpr std::uint64_t kLookMsMax = 60'000;  // the wall clock is compared at least so often: it may jump

  // `source` and `scheduler` outlive the manager. `changed` hears of every new certificate, also from inside `hold`, and gets null
  // when one has expired without a successor: no handshake is possible with that identity until it is called again. Neither
  // callback calls `hold`, `release`, `warm` or `forget`.
  CertificateManager(CertificateSource& source, Scheduler& scheduler, Changed changed, Failed failed);
  ~CertificateManager();
  CertificateManager(const CertificateManager&) = delete;
  CertificateManager& operator=(const CertificateManager&) = delete;

  // Counted: an identity is kept while it is held more often than released.
  void hold(const SpiffeId& identity);
  void release(const SpiffeId& identity);
  // The control plane names a workload of this node with that identity: its certificate shall be there before its pod. Not counted.
  void warm(const SpiffeId& identity);
  void forget(const SpiffeId& identity);
  // Held, without a certificate, and the first answer is still to come: a connection may wait for it.
  [[nodiscard]] bool is_pending(const SpiffeId& identity) const;
  // Null while there is none (yet), or it has expired.
  [[nodiscard]] std::shared_ptr<const tls::Credentials> current(const SpiffeId& identity) const;
  // By identity, in order.
  [[nodiscard]] std::vector<CertificateStatus> certificates() const;

 private:
  struct Entry {
    std::uint32_t holds = 0;
    bool is_warm = false;
    std::uint32_t failures = 0;  // in a row
    std::int64_t next_ms = 0;    // wall time of the next request
    std::string error;
    std::shared_ptr<const tls::Credentials> credentials;
  };

  void drop_unused(const SpiffeId& identity);
  [[nodiscard]] bool has_valid(const Entry& entry) const;
  // Puts it into the queue, unless it is there or under way.
  void enqueue(const SpiffeId& identity, const Entry& entry);
  // Sends what may be sent.
  void pump();
  void answered(const SpiffeId& identity, Result<std::shared_ptr<const tls::Credentials>> answer);
  void look();
  void schedule_look();

  CertificateSource& source_;
  Scheduler& scheduler_;
  Changed changed_;
  Failed failed_;
  std::map<SpiffeId, Entry> entries_;
  CertificateQueue queue_;
  std::set<SpiffeId> under_way_;  // kParallelMax at most; also of identities that were forgotten meanwhile
  bool is_pumping_ = false;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // replies may come after the manager has gone
  std::optional<Scheduler::TimerId> timer_;
};

}  // namespace culvert::control
