// SPDX-License-Identifier: Apache-2.0
// The part of a handshake that has to do with resumption (resumption.hpp): offering a ticket, taking one, and deriving the
// secret of the next one from a full handshake.
#include <algorithm>
#include <array>

#include "base/clock.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/handshake_state.hpp"

namespace culvert::tls {
namespace {

using State = HandshakeSocket::State;

constexpr std::string_view kExporterLabel = "EXPORTER-culvert-resumption";
constexpr std::uint8_t kSuite[] = {0x13, 0x01};  // any suite with SHA-256 stands for all of them

std::int64_t now_s() noexcept { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

SSL_SESSION* make_session(SSL* ssl, const Secret<32>& secret) noexcept {
  SSL_SESSION* session = ::SSL_SESSION_new();
  const SSL_CIPHER* suite = ::SSL_CIPHER_find(ssl, kSuite);
  if (session != nullptr && suite != nullptr &&
      ::SSL_SESSION_set1_master_key(session, secret.view().data(), secret.size()) == 1 &&
      ::SSL_SESSION_set_cipher(session, suite) == 1 &&
      ::SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
    return session;
  }
  ::SSL_SESSION_free(session);
  static_cast<void>(take_openssl_error());
  return nullptr;
}

}  // namespace

bool State::is_still_good(const VerifiedChain* chain) const {
  return revocation == nullptr || revocation->judge(chain, now_s()).standing == Revocation::Standing::Good;
}

bool State::is_local(std::string_view trust_domain) const noexcept {
  const std::string& own = credentials->identity().trust_domain;
  return trust_domain == own || (trust_domains != nullptr && trust_domains->is_local(trust_domain, own));
}

const SpiffeId* State::expected(const SpiffeId& peer) const noexcept {
  const std::string& own = credentials->identity().trust_domain;
  const auto found = std::ranges::find_if(expected_peers, [&](const SpiffeId& one) {
    return one == peer || (trust_domains != nullptr && trust_domains->are_same(one, peer, own));
  });
  return found == expected_peers.end() ? nullptr : &*found;
}

SSL_SESSION* State::offered_session() {
  if (store == nullptr) return nullptr;
  if (!offer) {
    const RootsDigest& roots = credentials->contexts().roots_digest;
    offer = store->offer(credentials->identity(), expected_peers, roots, now_s());
    // A full handshake says what is wrong.
    if (offer && !is_still_good(offer->chain.get())) {
      store->drop(credentials->identity(), offer->key, roots, offer->ticket);
      offer.reset();
    }
  }
  return offer ? make_session(ssl.get(), offer->secret) : nullptr;
}

SSL_SESSION* State::session_of(ByteView ticket) {
  if (issuer == nullptr) return nullptr;
  const SpiffeId& own = credentials->identity();
  auto opened = issuer->open(ticket, own, credentials->contexts().roots_digest, now_s());
  if (!opened || !is_local(opened->client.trust_domain)) return nullptr;
  if (!is_still_good(opened->chain.get())) return nullptr;
  SSL_SESSION* session = make_session(ssl.get(), opened->secret);
  opened->secret = Secret<32>();
  if (session != nullptr) shown = std::move(opened);
  return session;
}

void State::conclude_resumption() {
  const Credentials& own = *credentials;
  const RootsDigest& roots = own.contexts().roots_digest;
  if (::SSL_session_reused(ssl.get()) == 1) {
    // Who shows knowledge of the secret is who was verified when it was made.
    if (is_client && offer) {
      outcome.peer = offer->peer;
      outcome.peer_chain = offer->chain;
    }
    if (!is_client && shown) {
      outcome.peer = shown->client;
      outcome.peer_chain = shown->chain;
    }
    outcome.is_resumed = true;
    return;
  }
  if (is_client && offer) store->drop(own.identity(), offer->key, roots, offer->ticket);
  const bool wants_next = (is_client ? store != nullptr : issuer != nullptr) && outcome.alpn == Alpn::Direct;
  if (!wants_next || outcome.peer.trust_domain.empty()) return;

  // RFC 8446 section 7.5: 32 bytes of secret, and a tag by which the client finds it again when the ticket comes.
  std::array<std::uint8_t, 32 + kTicketTagBytes> exported;
  if (::SSL_export_keying_material(ssl.get(), exported.data(), exported.size(), kExporterLabel.data(),
                                   kExporterLabel.size(), nullptr, 0, 0) != 1) {
    static_cast<void>(take_openssl_error());
    return;
  }
  Secret<32> secret(ByteView(exported).first(32));
  TicketTag tag;
  std::memcpy(tag.data(), exported.data() + 32, tag.size());
  secure_wipe(exported.data(), exported.size());
  ResumptionFacts facts;
  facts.client = is_client ? own.identity() : outcome.peer;
  facts.server = is_client ? outcome.peer : own.identity();
  facts.roots = roots;
  facts.peer_chain = outcome.peer_chain;
  if (is_client) {
    // Found again by the name that is expected, whichever the server bears.
    const SpiffeId* name = expected(outcome.peer);
    facts.expected = name != nullptr ? *name : outcome.peer;
  }
  facts.not_after_s = std::min(own.info().not_after_s, peer_not_after_s);
  if (is_client) {
    store->expect(tag, std::move(secret), std::move(facts));
  } else {
    auto ticket = issuer->issue(secret, tag, facts, now_s());
    outcome.ticket = std::move(ticket.bytes);
    outcome.ticket_lifetime_s = ticket.lifetime_s;
  }
}

}  // namespace culvert::tls
