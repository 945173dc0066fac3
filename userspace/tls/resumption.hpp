// SPDX-License-Identifier: Apache-2.0
// Resumption between one pair of identities, without certificates and signatures, as an external PSK with (EC)DHE (RFC 8446
// sections 2.2 and 4.2.11). After a full handshake both ends derive the same secret from it (an exporter). The server seals
// {secret, both identities, end} under a key of its process into a ticket and forgets it; the ticket travels as a control
// message of the direct tunnel. The client keeps ticket and secret and shows the ticket next time. docs/tls.md has the format.
//
// Where revocation is looked at, store and ticket also hold what names the peer's certificates, so that a resumed connection is judged like
// the one before it.
//
// Bounds: 10 minutes and never beyond either certificate; the same two identities and the same trust roots; a restart of the
// server or two turns of its key end every ticket. A ticket that is refused costs nothing but a full handshake.
// Any thread: one mutex, held for map look-ups and one AEAD call at handshake time, never on the record path.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "base/bytes.hpp"
#include "base/secret.hpp"
#include "base/spiffe_id.hpp"
#include "tls/revocation.hpp"

namespace culvert::tls {

inline constexpr std::int64_t kResumptionLifetimeS = 600;
inline constexpr std::size_t kTicketBytesMax = 1024;
inline constexpr std::size_t kTicketTagBytes = 8;

using RootsDigest = std::array<std::uint8_t, 32>;
using TicketTag = std::array<std::uint8_t, kTicketTagBytes>;

// What a handshake knows when it ends.
struct ResumptionFacts {
  SpiffeId client;
  SpiffeId server;
  RootsDigest roots{};                              // of the end that asks
  std::int64_t not_after_s = 0;                     // the earlier end of the two chains, as far as this end knows
  std::shared_ptr<const VerifiedChain> peer_chain;  // of the other end
  SpiffeId expected{};  // client: the server by the name that it is asked for; empty: its own
};

// Server: makes and opens tickets. One per process.
class ResumptionIssuer {
 public:
  ResumptionIssuer();
  ~ResumptionIssuer();
  ResumptionIssuer(const ResumptionIssuer&) = delete;
  ResumptionIssuer& operator=(const ResumptionIssuer&) = delete;

  struct Ticket {
    std::vector<std::uint8_t> bytes;  // empty: none (identities too long, time over, no randomness)
    std::uint32_t lifetime_s = 0;
  };
  [[nodiscard]] Ticket issue(const Secret<32>& secret, const TicketTag& tag, const ResumptionFacts& facts,
                             std::int64_t now_s);
  // The secret and the client's identity, when `ticket` is ours, not over, for `server` and made under `roots`.
  struct Opened {
    Secret<32> secret;
    SpiffeId client;
    std::shared_ptr<const VerifiedChain> chain;  // of the client; null: the ticket names none
  };
  [[nodiscard]] std::optional<Opened> open(ByteView ticket, const SpiffeId& server, const RootsDigest& roots,
                                           std::int64_t now_s);

 private:
  struct Key {
    Secret<32> secret;
    std::uint32_t id = 0;
    std::int64_t made_s = 0;
  };
  [[nodiscard]] const Key* current(std::int64_t now_s);
  [[nodiscard]] bool make_key(std::int64_t now_s);

  std::mutex mutex_;
  std::array<Key, 2> keys_;  // current, previous
};

// Client: tickets by {own identity, peer identity, roots}. One per process.
class ResumptionStore {
 public:
  static constexpr std::size_t kPendingMax = 1024;  // handshakes whose ticket has not come; the oldest goes first
  static constexpr std::size_t kTicketsMax = 4096;  // pairs of identities; the one that ends first goes first

  ResumptionStore() = default;
  ResumptionStore(const ResumptionStore&) = delete;
  ResumptionStore& operator=(const ResumptionStore&) = delete;

  // A TICKET message arrived. False when no handshake of ours waits for it.
  bool keep(ByteView ticket, std::uint32_t lifetime_s, std::int64_t now_s);
  // Credentials changed: nothing of this identity under other roots is of use any more.
  void forget(const SpiffeId& own);
  [[nodiscard]] std::size_t tickets();

  // For handshakes.
  struct Offer {
    std::vector<std::uint8_t> ticket;
    Secret<32> secret;
    SpiffeId peer;
    SpiffeId key;                                // the name by which it was found
    std::shared_ptr<const VerifiedChain> chain;  // of the peer; null: unknown
  };
  [[nodiscard]] std::optional<Offer> offer(const SpiffeId& own, const std::vector<SpiffeId>& peers,
                                           const RootsDigest& roots, std::int64_t now_s);
  void expect(const TicketTag& tag, Secret<32> secret, ResumptionFacts facts);
  // The server did not take it: the next handshake shall not offer it again.
  void drop(const SpiffeId& own, const SpiffeId& peer, const RootsDigest& roots, ByteView ticket);

 private:
  struct Pending {
    TicketTag tag;
    Secret<32> secret;
    ResumptionFacts facts;
  };
  struct Entry {
    std::vector<std::uint8_t> ticket;
    Secret<32> secret;
    SpiffeId peer;
    std::shared_ptr<const VerifiedChain> chain;
    std::int64_t good_until_s = 0;
  };
  using Key = std::tuple<SpiffeId, SpiffeId, RootsDigest>;  // own, peer, roots

  std::mutex mutex_;
  std::list<Pending> pending_;
  std::map<Key, Entry> entries_;
};

}  // namespace culvert::tls
