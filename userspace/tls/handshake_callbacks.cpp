// SPDX-License-Identifier: Apache-2.0
#include "tls/handshake_callbacks.hpp"

#include <algorithm>
#include <string_view>

#include "base/clock.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/handshake_state.hpp"
#include "tls/io_context.hpp"

namespace culvert::tls {
namespace {

using State = HandshakeSocket::State;

State& state_of(const SSL* ssl) noexcept { return *static_cast<State*>(SSL_get_app_data(ssl)); }

int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "LABEL CLIENT_RANDOM SECRET", the last two in hexadecimal.
void on_keylog(const SSL* ssl, const char* raw) {
  const std::string_view line(raw);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return;
  const std::string_view label = line.substr(0, first);
  const std::string_view hex = line.substr(last + 1);
  State& state = state_of(ssl);
  Secret<48>* target = label == "CLIENT_TRAFFIC_SECRET_0"   ? &state.client_secret
                       : label == "SERVER_TRAFFIC_SECRET_0" ? &state.server_secret
                                                            : nullptr;
  std::array<std::uint8_t, 48> secret;
  if (target == nullptr || hex.size() % 2 != 0 || hex.size() / 2 > secret.size()) return;
  for (std::size_t i = 0; i < hex.size() / 2; ++i) {
    const int high = digit(hex[2 * i]);
    const int low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return;
    secret[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  target->assign({secret.data(), hex.size() / 2});
  secure_wipe(secret.data(), secret.size());
}

std::string list_of(const std::vector<SpiffeId>& identities) {
  std::string text;
  for (const SpiffeId& identity : identities) {
    if (!text.empty()) text += ", ";
    text += identity.to_string();
  }
  return text;
}

bool check_revocation(State& state, const VerifiedPeer& peer, std::int64_t now_s) {
  if (state.revocation == nullptr) return true;
  const Revocation::Judgement judgement = state.revocation->judge(peer.chain.get(), now_s);
  if (judgement.standing == Revocation::Standing::Good) return true;
  const std::string whose = judgement.depth == 0 ? fmt::format("the certificate of {}", peer.identity.to_string())
                                                 : fmt::format("the certificate of an issuer of {} (depth {})",
                                                               peer.identity.to_string(), judgement.depth);
  if (judgement.standing == Revocation::Standing::Revoked) {
    state.fail(HandshakeFailure::PeerRevoked, fmt::format("{} has been revoked", whose));
  } else {
    state.fail(
        HandshakeFailure::PeerUnknown,
        fmt::format("no current revocation list speaks of {}, and identity.revocation.fail_closed is on", whose));
  }
  return false;
}

int on_certificate(X509_STORE_CTX* context, void*) {
  const auto* ssl =
      static_cast<const SSL*>(::X509_STORE_CTX_get_ex_data(context, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
  State& state = state_of(ssl);
  const auto now_s = static_cast<std::int64_t>(wall_us() / 1'000'000);
  auto verified = verify_peer(context, state.is_client, state.credentials->contexts().roots_digest,
                              state.context->verified_peers(), now_s, state.revocation);
  if (!verified) {
    const Refusal& refusal = verified.error();
    state.fail(refusal.is_identity ? HandshakeFailure::PeerIdentity : HandshakeFailure::PeerCertificate,
               refusal.detail);
    ::X509_STORE_CTX_set_error(context, refusal.x509_error);
    return 0;
  }
  const SpiffeId& identity = verified->identity;
  if (!check_revocation(state, *verified, now_s)) {
    ::X509_STORE_CTX_set_error(context, state.failure == HandshakeFailure::PeerRevoked ? X509_V_ERR_CERT_REVOKED
                                                                                       : X509_V_ERR_UNABLE_TO_GET_CRL);
    return 0;
  }
  if (state.is_client) {
    if (state.expected(identity) == nullptr) {
      state.fail(HandshakeFailure::PeerIdentity,
                 fmt::format("the peer is {}, expected {}", identity.to_string(), list_of(state.expected_peers)));
    }
  } else if (!state.is_local(identity.trust_domain)) {
    state.fail(HandshakeFailure::PeerIdentity,
               fmt::format("the peer {} is of another trust domain than {}", identity.to_string(),
                           state.credentials->identity().to_string()));
  }
  if (state.has_failed()) {
    ::X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  }
  state.outcome.peer = identity;
  state.outcome.peer_chain = verified->chain;
  state.peer_not_after_s = verified->not_after_s;
  return 1;
}

std::string_view wire_name(Alpn alpn) noexcept { return alpn == Alpn::Direct ? "culvert/1" : "h2"; }

// The first of the client's list that we have.
int on_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size,
            void*) {
  State& state = state_of(ssl);
  ByteReader reader({in, in_size});
  while (reader.remaining() > 0) {
    const ByteView name = reader.take(reader.u8());
    if (!reader.ok()) break;
    for (std::size_t i = 0; i < state.alpn_count; ++i) {
      if (as_text(name) != wire_name(state.alpn[i])) continue;
      *out = name.data();
      *out_size = static_cast<unsigned char>(name.size());
      state.outcome.alpn = state.alpn[i];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  state.fail(HandshakeFailure::Protocol, "the client offers no application protocol (ALPN) that this end speaks");
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

int on_psk_offer(SSL* ssl, const EVP_MD* digest, const unsigned char** id, std::size_t* id_size,
                 SSL_SESSION** session) {
  State& state = state_of(ssl);
  *session = nullptr;
  // Tickets are for the SHA-256 suites; after a HelloRetryRequest the suite is known and may be another.
  if (digest != nullptr && ::EVP_MD_get_type(digest) != NID_sha256) return 1;
  *session = state.offered_session();
  if (*session == nullptr) return 1;
  *id = state.offer->ticket.data();
  *id_size = state.offer->ticket.size();
  return 1;
}

int on_psk_shown(SSL* ssl, const unsigned char* id, std::size_t id_size, SSL_SESSION** session) {
  *session = state_of(ssl).session_of({id, id_size});
  return 1;  // a ticket that is no good is no error: the handshake goes on with certificates
}

}  // namespace

void install_handshake_callbacks(SSL_CTX* context, bool is_server) noexcept {
  ::SSL_CTX_set_keylog_callback(context, on_keylog);
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  ::SSL_CTX_set_cert_verify_callback(context, on_certificate, nullptr);
  if (is_server) {
    ::SSL_CTX_set_alpn_select_cb(context, on_alpn, nullptr);
    ::SSL_CTX_set_psk_find_session_callback(context, on_psk_shown);
  } else {
    ::SSL_CTX_set_psk_use_session_callback(context, on_psk_offer);
  }
}

}  // namespace culvert::tls
