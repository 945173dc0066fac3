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
  const std::uint64_t pause = std::min(CertificateManager::kRetryMsFirst << doublings, CertificateManager::kRetryMsMax);
  return static_cast<std::int64_t>(static_cast<double>(pause) * (0.8 + 0.4 * random));
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
  const bool is_first = ++place->second.holds == 1;
  // One that is in the queue may have become more urgent.
  if (is_new || (is_first && queue_.contains(identity))) enqueue(identity, place->second);
  pump();
}

void CertificateManager::release(const SpiffeId& identity) {
  const auto place = entries_.find(identity);
  if (place == entries_.end() || place->second.holds == 0 || --place->second.holds > 0) return;
  drop_unused(identity);
}

void CertificateManager::warm(const SpiffeId& identity) {
  const auto [place, is_new] = entries_.try_emplace(identity);
  place->second.is_warm = true;
  if (is_new) enqueue(identity, place->second);
  pump();
}

void CertificateManager::forget(const SpiffeId& identity) {
  const auto place = entries_.find(identity);
  if (place == entries_.end()) return;
  place->second.is_warm = false;
  drop_unused(identity);
}

void CertificateManager::drop_unused(const SpiffeId& identity) {
  const auto place = entries_.find(identity);
  if (place->second.holds > 0 || place->second.is_warm) return;
  queue_.remove(identity);
  entries_.erase(place);
  schedule_look();
}

bool CertificateManager::has_valid(const Entry& entry) const {
  return entry.credentials != nullptr && expiry_ms(*entry.credentials) > scheduler_.wall_ms();
}

bool CertificateManager::is_pending(const SpiffeId& identity) const {
  const auto place = entries_.find(identity);
  return place != entries_.end() && !has_valid(place->second) && place->second.failures == 0;
}

std::shared_ptr<const tls::Credentials> CertificateManager::current(const SpiffeId& identity) const {
  const auto place = entries_.find(identity);
  return place != entries_.end() && has_valid(place->second) ? place->second.credentials : nullptr;
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

void CertificateManager::enqueue(const SpiffeId& identity, const Entry& entry) {
  if (under_way_.contains(identity)) return;
  queue_.push(identity, has_valid(entry)  ? CertificateUrgency::Refresh
                        : entry.holds > 0 ? CertificateUrgency::Waiting
                                          : CertificateUrgency::WarmUp);
}

// A source may answer inside the call: then the loop goes on, and nothing is called within itself.
void CertificateManager::pump() {
  if (is_pumping_) return;
  is_pumping_ = true;
  const std::shared_ptr<bool> is_alive = is_alive_;
  while (under_way_.size() < kParallelMax) {
    const std::optional<SpiffeId> identity = queue_.pop();
    if (!identity) break;
    under_way_.insert(*identity);
    source_.request(*identity, [this, is_alive, identity = *identity](auto answer) {
      if (*is_alive) answered(identity, std::move(answer));
    });
  }
  is_pumping_ = false;
  schedule_look();
}

void CertificateManager::answered(const SpiffeId& identity, Result<std::shared_ptr<const tls::Credentials>> answer) {
  under_way_.erase(identity);
  const auto place = entries_.find(identity);
  if (place == entries_.end()) {  // forgotten since it was asked
    pump();
    return;
  }
  Entry& entry = place->second;
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
    changed_(identity, entry.credentials);
  } else {
    ++entry.failures;
    entry.next_ms = now_ms + retry_ms(entry.failures, scheduler_.random());
    const std::string why = answer.error().message();
    if (why != std::exchange(entry.error, why)) failed_(identity, answer.error());
  }
  pump();
}

void CertificateManager::look() {
  timer_.reset();
  const std::int64_t now_ms = scheduler_.wall_ms();
  std::vector<SpiffeId> expired;
  for (auto& [identity, entry] : entries_) {
    // A clock that went back would leave the pause, or the certificate's beginning, far ahead.
    // Once a first attempt has failed its pause counts, not each look.
    const bool is_early =
        entry.failures == 0 && entry.credentials != nullptr && entry.credentials->info().not_before_s * 1'000 > now_ms;
    const bool is_stale_pause =
        entry.failures > 0 && entry.next_ms - now_ms > 2 * static_cast<std::int64_t>(kRetryMsMax);
    const bool is_due = entry.next_ms <= now_ms || is_early || is_stale_pause;
    if (is_due) enqueue(identity, entry);
    if (entry.credentials != nullptr && expiry_ms(*entry.credentials) <= now_ms) {
      entry.credentials.reset();
      expired.push_back(identity);
    }
  }
  for (const SpiffeId& identity : expired) changed_(identity, nullptr);
  pump();
}

void CertificateManager::schedule_look() {
  if (timer_) scheduler_.cancel(*timer_);
  timer_.reset();
  if (entries_.empty()) return;
  const std::int64_t now_ms = scheduler_.wall_ms();
  std::int64_t wait_ms = static_cast<std::int64_t>(kLookMsMax);
  for (const auto& [identity, entry] : entries_) {
    if (!under_way_.contains(identity) && !queue_.contains(identity))
      wait_ms = std::min(wait_ms, entry.next_ms - now_ms);
    if (entry.credentials != nullptr) wait_ms = std::min(wait_ms, expiry_ms(*entry.credentials) - now_ms);
  }
  timer_ = scheduler_.after_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(wait_ms, 1)), [this] { look(); });
}

}  // namespace culvert::control
