// SPDX-License-Identifier: Apache-2.0
// The part of a handshake that has to do with resumption (resumption.hpp): offering a ticket, taking one, and deriving the
// secret of the next one from a full handshake.
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

SSL_SESSION* State::offered_session() {
  if (store == nullptr) return nullptr;
  if (!offer)
    offer = store->offer(credentials->identity(), expected_peers, credentials->contexts().roots_digest, now_s());
  return offer ? make_session(ssl.get(), offer->secret) : nullptr;
}

SSL_SESSION* State::session_of(ByteView ticket) {
  if (issuer == nullptr) return nullptr;
  const SpiffeId& own = credentials->identity();
  auto opened = issuer->open(ticket, own, credentials->contexts().roots_digest, now_s());
  if (!opened || opened->client.trust_domain != own.trust_domain) return nullptr;
  SSL_SESSION* session = make_session(ssl.get(), opened->secret);
  if (session != nullptr) resumed_client = std::move(opened->client);
  return session;
}

void State::conclude_resumption() {
  const Credentials& own = *credentials;
  const RootsDigest& roots = own.contexts().roots_digest;
  if (::SSL_session_reused(ssl.get()) == 1) {
    // Who shows knowledge of the secret is who was verified when it was made.
    if (is_client && offer) outcome.peer = offer->peer;
    if (!is_client && resumed_client) outcome.peer = *resumed_client;
    outcome.is_resumed = true;
    return;
  }
  if (is_client && offer) store->drop(own.identity(), offer->peer, roots, offer->ticket);
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
