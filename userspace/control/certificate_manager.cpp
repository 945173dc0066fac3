// SPDX-License-Identifier: Apache-2.0
#include "control/certificate_manager.hpp"

#include <algorithm>
#include <utility>

#include "tls/credentials.hpp"

namespace culvert::control {
namespace {

// A factor in [0.9, 1.1): agents that started together do not ask together.
double jitter(double random) { return 0.9 + 0.2 * random; }

std::int64_t expiry_ms(const tls::Credentials& credentials) { return credentials.info().not_after_s * 1'000; }

std::int64_t retry_ms(std::uint32_t failures, double random) {
  const std::uint32_t doublings = std::min<std::uint32_t>(failures - 1, 16);
  const std::uint64_t pause = std::min(CertificateManager::kRetryMsMin << doublings, CertificateManager::kRetryMsMax);
  return static_cast<std::int64_t>(static_cast<double>(pause) * jitter(random));
}

}  // namespace

std::string to_string(const CertificateStatus& status) {
  switch (status.state) {
    case CertificateStatus::State::Initializing: return "initializing";
    case CertificateStatus::State::Available: return "available";
    case CertificateStatus::State::Unavailable: return "unavailable: " + status.error;
  }
  return "unknown";
}

CertificateManager::CertificateManager(CertificateSource& source, Scheduler& scheduler, Changed changed, Failed failed)
    : source_(source), scheduler_(scheduler), changed_(std::move(changed)), failed_(std::move(failed)) {}

CertificateManager::~CertificateManager() {
  *is_alive_ = false;
  if (timer_) scheduler_.cancel(*timer_);
}

void CertificateManager::hold(const SpiffeId& identity) {
  const auto [place, is_new] = entries_.try_emplace(identity);
  ++place->second.holds;
  if (!is_new) return;
  request(place->first, place->second);
  schedule_look();
}

void CertificateManager::release(const SpiffeId& identity) {
  const auto place = entries_.find(identity);
  if (place == entries_.end() || --place->second.holds > 0) return;
  entries_.erase(place);
  schedule_look();
}

std::shared_ptr<const tls::Credentials> CertificateManager::current(const SpiffeId& identity) const {
  const auto place = entries_.find(identity);
  if (place == entries_.end() || place->second.credentials == nullptr) return nullptr;
  return expiry_ms(*place->second.credentials) > scheduler_.wall_ms() ? place->second.credentials : nullptr;
}

std::vector<CertificateStatus> CertificateManager::certificates() const {
  std::vector<CertificateStatus> rows;
  rows.reserve(entries_.size());
  for (const auto& [identity, entry] : entries_) {
    CertificateStatus row;
    row.identity = identity;
    row.error = entry.error;
    row.rotates_at_s = entry.next_ms / 1'000;
    if (const auto credentials = current(identity); credentials != nullptr) {
      row.state = CertificateStatus::State::Available;
      row.serial_decimal = credentials->info().serial_decimal;
      row.not_before_s = credentials->info().not_before_s;
      row.not_after_s = credentials->info().not_after_s;
    } else if (!entry.error.empty()) {
      row.state = CertificateStatus::State::Unavailable;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void CertificateManager::request(const SpiffeId& identity, Entry& entry) {
  const std::uint64_t id = next_request_id_++;
  entry.request_id = id;
  source_.request(identity, [this, is_alive = is_alive_, identity, id](auto answer) {
    if (*is_alive) answered(identity, id, std::move(answer));
  });
}

void CertificateManager::answered(const SpiffeId& identity, std::uint64_t request_id,
                                  Result<std::shared_ptr<const tls::Credentials>> answer) {
  const auto place = entries_.find(identity);
  // Released, or released and held anew, since it was asked.
  if (place == entries_.end() || place->second.request_id != request_id) return;
  Entry& entry = place->second;
  entry.request_id = 0;
  const std::int64_t now_ms = scheduler_.wall_ms();
  if (answer && expiry_ms(**answer) <= now_ms) {
    answer =
        fail(ErrorCode::Unavailable,
             "the certificate that was issued has expired already; compare this machine's clock with the issuer's");
  }
  if (answer) {
    const std::int64_t life_ms = expiry_ms(**answer) - now_ms;
    entry.next_ms =
        now_ms + static_cast<std::int64_t>(static_cast<double>(life_ms) * 0.5 * jitter(scheduler_.random()));
    entry.failures = 0;
    entry.error.clear();
    entry.credentials = *std::move(answer);
    schedule_look();
    changed_(identity, entry.credentials);
    return;
  }
  ++entry.failures;
  entry.next_ms = now_ms + retry_ms(entry.failures, scheduler_.random());
  const std::string why = answer.error().message();
  const bool is_news = why != std::exchange(entry.error, why);
  schedule_look();
  if (is_news) failed_(identity, answer.error());
}

void CertificateManager::look() {
  timer_.reset();
  const std::int64_t now_ms = scheduler_.wall_ms();
  std::vector<SpiffeId> expired;
  for (auto& [identity, entry] : entries_) {
    // A clock that went back would leave the pause, or the certificate's beginning, far ahead.
    const bool is_early = entry.credentials != nullptr && entry.credentials->info().not_before_s * 1'000 > now_ms;
    const bool is_stale_pause =
        entry.failures > 0 && entry.next_ms - now_ms > 2 * static_cast<std::int64_t>(kRetryMsMax);
    const bool is_due = entry.next_ms <= now_ms || is_early || is_stale_pause;
    if (entry.request_id == 0 && is_due) request(identity, entry);
    if (entry.credentials != nullptr && expiry_ms(*entry.credentials) <= now_ms) {
      entry.credentials.reset();
      expired.push_back(identity);
    }
  }
  schedule_look();
  for (const SpiffeId& identity : expired) changed_(identity, nullptr);
}

void CertificateManager::schedule_look() {
  if (timer_) scheduler_.cancel(*timer_);
  timer_.reset();
  if (entries_.empty()) return;
  const std::int64_t now_ms = scheduler_.wall_ms();
  std::int64_t wait_ms = static_cast<std::int64_t>(kLookMsMax);
  for (const auto& [identity, entry] : entries_) {
    if (entry.request_id == 0) wait_ms = std::min(wait_ms, entry.next_ms - now_ms);
    if (entry.credentials != nullptr) wait_ms = std::min(wait_ms, expiry_ms(*entry.credentials) - now_ms);
  }
  timer_ = scheduler_.after_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(wait_ms, 1)), [this] { look(); });
}

}  // namespace culvert::control
