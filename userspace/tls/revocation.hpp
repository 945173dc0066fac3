// SPDX-License-Identifier: Apache-2.0
// Revocation: which certificates their issuers have taken back, by lists (CRLs, RFC 5280 section 5) that somebody hands in. A list counts
// for an issuer whose key has signed it and may sign lists; issuers are those of chains that were verified, and those that the agent's own
// credentials name. A serial that such a list holds is revoked, whatever the list's dates and scope say. What no list speaks of is accepted,
// unless the object was made to fail closed.
//
// One per process, any thread: one mutex, held at handshake time and when lists change, never on the record path. A signature is checked once
// for each pair of list and issuer.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

struct stack_st_X509;  // OpenSSL's STACK_OF(X509)

namespace culvert::tls {

// SHA-256 of an issuer's name and public key.
using IssuerDigest = std::array<std::uint8_t, 32>;

// A certificate as a list names it.
struct IssuedSerial {
  IssuerDigest issuer{};
  std::vector<std::uint8_t> serial;  // DER
  bool operator==(const IssuedSerial&) const = default;
};

// A peer's chain as far as revocation goes: leaf first, without the trust anchor. Immutable once made.
struct VerifiedChain {
  static constexpr std::size_t kCertificatesMax = 16;
  std::vector<IssuedSerial> certificates;
};

class Revocation {
 public:
  static constexpr std::size_t kBytesMax = std::size_t{16} << 20U;
  static constexpr std::size_t kListsMax = 256;
  static constexpr std::size_t kIssuersMax = 1'024;  // chains under further ones are not tracked

  // `fails_closed`: a certificate of which no current and complete list of its issuer speaks is refused.
  explicit Revocation(bool fails_closed);
  ~Revocation();
  Revocation(const Revocation&) = delete;
  Revocation& operator=(const Revocation&) = delete;

  // The lists of `text` (PEM, several, anything else between them is passed over; or one in DER) replace those in force; after an error
  // those stay. Errors: nothing that is a list, a damaged one, an indirect or delta list, more than the limits.
  [[nodiscard]] Result<void> load(std::string_view text);
  // Makes every certificate of `pem` known as an issuer. For our own roots and chain, which no handshake shows.
  [[nodiscard]] Result<void> know_issuers(std::string_view pem);

  struct ListInfo {
    std::string issuer;  // its name, for people
    std::size_t entries = 0;
    std::int64_t this_update_s = 0;  // Unix seconds
    std::int64_t next_update_s = 0;  // 0: the list does not say
    bool is_vouched = false;         // some issuer that is known has signed it: it counts
  };
  // In the order of the text; empty: there are none.
  [[nodiscard]] std::vector<ListInfo> lists() const;
  [[nodiscard]] bool fails_closed() const noexcept { return fails_closed_; }

  enum class Standing : std::uint8_t { Good, Revoked, Unknown };
  struct Judgement {
    Standing standing = Standing::Good;
    std::size_t depth = 0;  // which certificate of the chain
  };
  // For a new connection; whatever is not Good is for refusal. Unknown only when it fails closed. `chain` null: it is not tracked.
  [[nodiscard]] Judgement judge(const VerifiedChain* chain, std::int64_t now_s) const;
  // For a live one.
  [[nodiscard]] bool is_revoked(const VerifiedChain& chain) const;

  // For handshakes: makes the issuers of a chain known that was just verified (leaf first, trust anchor last), and says what to judge by. Null:
  // too many issuers, or no memory.
  [[nodiscard]] std::shared_ptr<const VerifiedChain> track(const stack_st_X509* chain);

 private:
  struct List;
  struct Issuer;
  void vouch(Issuer& issuer);
  [[nodiscard]] bool is_listed(const IssuedSerial& certificate) const;
  [[nodiscard]] bool is_covered(const IssuedSerial& certificate, std::int64_t now_s) const;
  [[nodiscard]] bool know(const stack_st_X509* chain, std::size_t first);

  const bool fails_closed_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<List>> lists_;
  std::map<IssuerDigest, std::unique_ptr<Issuer>> issuers_;
};

}  // namespace culvert::tls
