// SPDX-License-Identifier: Apache-2.0
// CertificateManager: one certificate for each identity that some local pod holds. Asked for when the first pod comes, replaced at
// half its life (with jitter), asked for again with growing pauses after a failure; the old one serves until it expires. Live
// connections notice nothing. Control thread only; it knows neither OpenSSL nor the clock itself.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/spiffe_id.hpp"
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

  static constexpr std::uint64_t kRetryMsMin = 1'000;
  static constexpr std::uint64_t kRetryMsMax = 60'000;
  static constexpr std::uint64_t kLookMsMax = 60'000;  // the wall clock is compared at least so often: it may jump

  // `source` and `scheduler` outlive the manager. `changed` hears of every new certificate, also from inside `hold`, and gets null
  // when one has expired without a successor: no handshake is possible with that identity until it is called again. Neither
  // callback calls `hold` or `release`.
  CertificateManager(CertificateSource& source, Scheduler& scheduler, Changed changed, Failed failed);
  ~CertificateManager();
  CertificateManager(const CertificateManager&) = delete;
  CertificateManager& operator=(const CertificateManager&) = delete;

  // Counted: an identity is kept while it is held more often than released.
  void hold(const SpiffeId& identity);
  void release(const SpiffeId& identity);
  // Null while there is none (yet), or it has expired.
  [[nodiscard]] std::shared_ptr<const tls::Credentials> current(const SpiffeId& identity) const;
  // By identity, in order.
  [[nodiscard]] std::vector<CertificateStatus> certificates() const;

 private:
  struct Entry {
    std::uint32_t holds = 0;
    std::uint64_t request_id = 0;  // of the request under way; 0: none
    std::uint32_t failures = 0;    // in a row
    std::int64_t next_ms = 0;      // wall time of the next request
    std::string error;
    std::shared_ptr<const tls::Credentials> credentials;
  };

  void request(const SpiffeId& identity, Entry& entry);
  void answered(const SpiffeId& identity, std::uint64_t request_id,
                Result<std::shared_ptr<const tls::Credentials>> answer);
  void look();
  void schedule_look();

  CertificateSource& source_;
  Scheduler& scheduler_;
  Changed changed_;
  Failed failed_;
  std::map<SpiffeId, Entry> entries_;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // replies may come after the manager has gone
  std::uint64_t next_request_id_ = 1;
  std::optional<Scheduler::TimerId> timer_;
};

}  // namespace culvert::control
