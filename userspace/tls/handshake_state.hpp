// SPDX-License-Identifier: Apache-2.0
// HandshakeSocket::State: one handshake in progress. Bytes go between socket and OpenSSL through two small buffers, so that
// it is we who decide how far to read: with kernel records not a byte beyond the handshake's last record.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/secret.hpp"
#include "tls/handshake_socket.hpp"
#include "tls/openssl.hpp"
#include "tls/peer_verifier.hpp"
#include "tls/resumption.hpp"

namespace culvert::tls {

struct HandshakeSocket::State {
  UniqueFd fd;
  SslPtr ssl;
  std::shared_ptr<const Credentials> credentials;
  std::vector<SpiffeId> expected_peers;
  std::array<Alpn, 2> alpn{};
  std::size_t alpn_count = 0;
  EnginePlan plan;
  IoContext* context = nullptr;  // during `advance` only

  // Received: [0, in_read) OpenSSL has, [in_read, in_limit) it may have now; from in_taken on the bytes were only looked at
  // and are still in the socket.
  std::vector<std::uint8_t> in;
  std::size_t in_read = 0;
  std::size_t in_limit = 0;
  std::size_t in_taken = 0;
  std::size_t received = 0;  // by all reads, for the limit
  std::vector<std::uint8_t> out;
  std::size_t out_sent = 0;

  Secret<48> client_secret;
  Secret<48> server_secret;
  HandshakeOutcome outcome;
  std::int64_t peer_not_after_s = 0;  // the earliest end in the peer's chain
  ResumptionIssuer* issuer = nullptr;
  ResumptionStore* store = nullptr;
  Revocation* revocation = nullptr;
  const TrustDomains* trust_domains = nullptr;
  std::optional<ResumptionStore::Offer> offer;    // client: what it showed
  std::optional<ResumptionIssuer::Opened> shown;  // server: what a good ticket says of the client; without the secret
  Cipher cipher = Cipher::Aes128Gcm;
  HandshakeFailure failure = HandshakeFailure::None;
  std::string detail;
  bool is_client = false;
  bool is_started = false;
  bool is_done = false;
  bool has_ulp = false;
  bool is_hung_up = false;  // FIN was read

  // Sets failure and a detail that is fit for a log: printable, of bounded length. The first one stays.
  void fail(HandshakeFailure what, std::string_view why);
  [[nodiscard]] bool has_failed() const noexcept { return failure != HandshakeFailure::None; }
  // Records of this direction will be the kernel's, as far as is known before the cipher is agreed.
  [[nodiscard]] bool may_use_kernel(const std::array<Engine, 3>& engines) const noexcept;
  // The cipher that was agreed, once it is known.
  [[nodiscard]] std::optional<Cipher> agreed_cipher() const noexcept;

  // Our own trust domain, or an alias of it.
  [[nodiscard]] bool is_local(std::string_view trust_domain) const noexcept;
  // The one of the expected identities that this is, by its own name or by an alias of ours; null: none.
  [[nodiscard]] const SpiffeId* expected(const SpiffeId& peer) const noexcept;
  // Whether certificates that once were good are so still.
  [[nodiscard]] bool is_still_good(const VerifiedChain* chain) const;

  // handshake_resumption.cpp
  // Client: the session to offer, or null. Server: the session that `ticket` stands for, or null. The caller owns it.
  [[nodiscard]] SSL_SESSION* offered_session();
  [[nodiscard]] SSL_SESSION* session_of(ByteView ticket);
  // Fixes who the peer of a resumed handshake is, and prepares the next resumption after a full one.
  void conclude_resumption();

  // handshake_io.cpp
  // An SSL object's view of the two buffers.
  [[nodiscard]] BIO* make_bio();
  enum class Io : std::uint8_t { Ok, WouldBlock, Closed };
  // Sends what waits in `out`.
  [[nodiscard]] Io flush();
  // Lets OpenSSL have more: the next record that was looked at already, or bytes from the socket.
  [[nodiscard]] Io feed();
  // The handshake is over: takes out of the socket exactly what it used.
  void settle();

 private:
  [[nodiscard]] Io read_ahead();
  [[nodiscard]] Io look_ahead();
  [[nodiscard]] bool next_record() noexcept;
  void take_looked_at(std::size_t up_to);
};

}  // namespace culvert::tls
