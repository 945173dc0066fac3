// SPDX-License-Identifier: Apache-2.0
// HandshakeSocket: a TCP connection on which a TLS 1.3 handshake runs. It owns the descriptor; nothing but handshake messages
// can be sent on it. When done it turns into a TunnelSocket, or fails with a reason. Worker thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"
#include "base/trust_domains.hpp"
#include "base/unique_fd.hpp"
#include "tls/credentials.hpp"
#include "tls/engine_plan.hpp"
#include "tls/io_context.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::tls {

class ResumptionIssuer;  // resumption.hpp
class ResumptionStore;
class Revocation;  // revocation.hpp
struct VerifiedChain;

enum class Alpn : std::uint8_t { Direct, Hbone };  // "culvert/1", "h2"

enum class HandshakeFailure : std::uint8_t {
  None,
  Protocol,         // not TLS 1.3, garbage, no common cipher or ALPN
  PeerCertificate,  // chain, time, key usage: detail says which
  PeerIdentity,     // no SPIFFE ID, several, other trust domain, or not the expected one
  PeerRevoked,      // a certificate of the chain was taken back
  PeerUnknown,      // whether one was is not known, and that is for refusal
  PeerAlert,        // the peer refused us
  Closed,           // FIN or RST before the end
  TooLarge,         // more handshake bytes than kHandshakeBytesMax
  RecordLayer,      // keys could not be installed
};

struct ClientHandshakeOptions {
  std::shared_ptr<const Credentials> credentials;
  std::vector<SpiffeId> expected_peers;  // any of these; never empty
  std::span<const Alpn> alpn;            // in order of preference
  EnginePlan plan;
  ResumptionStore* resumption = nullptr;        // null: full handshakes only; outlives the handshake
  Revocation* revocation = nullptr;             // null: nobody's certificate was taken back; outlives the handshake
  const TrustDomains* trust_domains = nullptr;  // null: our own has no alias; outlives the handshake
};
struct ServerHandshakeOptions {
  std::shared_ptr<const Credentials> credentials;
  std::span<const Alpn> alpn;  // the first of the client's list that is here wins
  EnginePlan plan;
  ResumptionIssuer* resumption = nullptr;  // null: tickets are neither taken nor made; outlives the handshake
  Revocation* revocation = nullptr;        // as the client's
  const TrustDomains* trust_domains = nullptr;
};

// Who the peer is and what was agreed; known once the handshake is done.
struct HandshakeOutcome {
  SpiffeId peer;
  Alpn alpn = Alpn::Direct;
  bool is_resumed = false;
  // By which a live connection is judged again; null: without `revocation`, or it cannot be tracked.
  std::shared_ptr<const VerifiedChain> peer_chain;
  // Server, after a full handshake with `resumption`, direct tunnels only: what to send in a TICKET message. Empty: nothing.
  std::vector<std::uint8_t> ticket;
  std::uint32_t ticket_lifetime_s = 0;
};

class HandshakeSocket {
 public:
  static constexpr std::size_t kHandshakeBytesMax = 64 * 1024;  // received, both flights together

  HandshakeSocket() noexcept;  // empty
  // `fd` is connected (server) or connecting (client: call `advance` first when it is writable). The kernel TLS ULP, where
  // the plan wants it, is attached on the first `advance`, before any byte.
  [[nodiscard]] static Result<HandshakeSocket> client(UniqueFd fd, const ClientHandshakeOptions& options);
  [[nodiscard]] static Result<HandshakeSocket> server(UniqueFd fd, const ServerHandshakeOptions& options);
  HandshakeSocket(HandshakeSocket&&) noexcept;
  HandshakeSocket& operator=(HandshakeSocket&&) noexcept;
  ~HandshakeSocket();

  enum class Step : std::uint8_t { WantRead, WantWrite, Done, Failed };
  // Does what can be done without blocking.
  [[nodiscard]] Step advance(IoContext& context);
  [[nodiscard]] int fd() const noexcept;
  [[nodiscard]] HandshakeFailure failure() const noexcept;
  // For the log: what was wrong with which value.
  [[nodiscard]] const std::string& failure_detail() const noexcept;

  // After Done. The client's last flight may still wait unsent inside, to leave in one segment with the first records.
  [[nodiscard]] const HandshakeOutcome& outcome() const noexcept;
  // Frees the SSL object, derives and installs the record keys, carries over bytes read ahead.
  [[nodiscard]] std::optional<TunnelSocket> into_tunnel(IoContext& context);

  struct State;  // handshake_state.hpp

 private:
  [[nodiscard]] static Result<HandshakeSocket> make(UniqueFd fd, std::shared_ptr<const Credentials> credentials,
                                                    std::span<const Alpn> alpn, const EnginePlan& plan, bool is_client);
  [[nodiscard]] Step run();
  [[nodiscard]] bool start();
  [[nodiscard]] bool finish();
  void refuse();

  std::unique_ptr<State> state_;
};

}  // namespace culvert::tls
