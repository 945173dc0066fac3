// SPDX-License-Identifier: Apache-2.0
// HandshakeLimiter: a token bucket per source address, so that one peer cannot spend a worker's time on handshakes. Pure: told
// the time. At kPeersMax addresses the fullest (least recently active) buckets are forgotten first.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/address.hpp"

namespace culvert::proxy {

class HandshakeLimiter {
 public:
  static constexpr std::size_t kPeersMax = 4096;

  explicit HandshakeLimiter(std::uint32_t per_second) : per_second_(per_second) {}

  // Takes one token; false when this peer has none left. A rate of 0 is no limit.
  [[nodiscard]] bool admit(const IpAddress& peer, std::uint64_t now_ms) {
    if (per_second_ == 0) return true;
    if (buckets_.size() >= kPeersMax) forget_full(now_ms);
    auto [place, is_new] = buckets_.try_emplace(peer, Bucket{std::uint64_t{per_second_} * 1000U, now_ms});
    Bucket& bucket = place->second;
    refill(bucket, now_ms);
    if (bucket.milli_tokens < 1000) return false;
    bucket.milli_tokens -= 1000;
    return true;
  }
  // What a bucket holds beyond the new rate is cut when it is used next.
  void set_rate(std::uint32_t per_second) noexcept { per_second_ = per_second; }
  [[nodiscard]] std::size_t peers() const noexcept { return buckets_.size(); }

 private:
  struct Bucket {
    std::uint64_t milli_tokens;
    std::uint64_t refilled_ms;
  };
  void refill(Bucket& bucket, std::uint64_t now_ms) const noexcept {
    const std::uint64_t full = std::uint64_t{per_second_} * 1000U;
    const std::uint64_t earned = (now_ms - bucket.refilled_ms) * per_second_;
    bucket.milli_tokens = bucket.milli_tokens + earned > full ? full : bucket.milli_tokens + earned;
    bucket.refilled_ms = now_ms;
  }
  void forget_full(std::uint64_t now_ms) {
    const std::uint64_t full = std::uint64_t{per_second_} * 1000U;
    for (auto place = buckets_.begin(); place != buckets_.end();) {
      refill(place->second, now_ms);
      place = place->second.milli_tokens >= full ? buckets_.erase(place) : std::next(place);
    }
    if (buckets_.size() >= kPeersMax) buckets_.clear();
  }

  std::unordered_map<IpAddress, Bucket> buckets_;
  std::uint32_t per_second_;
};

}  // namespace culvert::proxy
