// SPDX-License-Identifier: Apache-2.0
// What the tests of the TLS module share: an authority that issues good and bad certificates, connected sockets, a handshake
// between two ends, and a pair of tunnels.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/spiffe_id.hpp"
#include "base/unique_fd.hpp"
#include "core/buffer_pool.hpp"
#include "tls/certificate_maker.hpp"
#include "tls/credentials.hpp"
#include "tls/handshake_socket.hpp"
#include "tls/io_context.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::tls::test {

inline constexpr std::string_view kClientId = "spiffe://cluster.local/ns/shop/sa/cart";
inline constexpr std::string_view kServerId = "spiffe://cluster.local/ns/shop/sa/stock";

// A certificate and its key as PEM.
struct Issued {
  std::string chain_pem;
  std::string key_pem;
};

// How a leaf may differ from a good one.
struct LeafOptions {
  std::int64_t from_s = -60;  // relative to now
  std::int64_t until_s = 3600;
  std::string alternative_names = "URI:" + std::string(kServerId);  // empty: none
  std::string key_usage = "critical,digitalSignature";
  std::string extended_key_usage = "serverAuth,clientAuth";
  std::string basic_constraints = "critical,CA:FALSE";
  std::string authority_key_identifier{};  // "keyid"; empty: none
};

class Authority {
 public:
  Authority();
  [[nodiscard]] Issued issue(const LeafOptions& options) const;
  [[nodiscard]] std::shared_ptr<const Credentials> credentials(std::string_view identity) const;
  [[nodiscard]] const std::string& root_pem() const noexcept { return root_pem_; }
  [[nodiscard]] X509* root() const noexcept { return root_.get(); }
  [[nodiscard]] EVP_PKEY* key() const noexcept { return key_.get(); }

  // An authority under this one.
  struct Intermediate {
    KeyPtr key;
    CertificatePtr certificate;
    std::string pem;
    // A leaf of it; the chain holds both.
    [[nodiscard]] std::shared_ptr<const Credentials> credentials(std::string_view identity,
                                                                 const std::string& root_pem) const;
  };
  [[nodiscard]] Intermediate intermediate(const std::string& key_usage = "critical,keyCertSign,cRLSign") const;

 private:
  KeyPtr key_;
  CertificatePtr root_;
  std::string root_pem_;
};

// Connected, non-blocking TCP sockets over 127.0.0.1.
[[nodiscard]] std::pair<UniqueFd, UniqueFd> tcp_pair();
void wait_for(int fd, short events, int timeout_ms = 5000);

struct End {
  explicit End(Engine engine = Engine::UserEvp) : pool(std::size_t{64} << 20U), context(pool, engine) {}
  BufferPool pool;
  IoContext context;
};

inline constexpr Alpn kDirectOnly[] = {Alpn::Direct};

[[nodiscard]] EnginePlan user_plan(Engine engine);
[[nodiscard]] ClientHandshakeOptions client_options(const std::shared_ptr<const Credentials>& credentials,
                                                    const EnginePlan& plan = user_plan(Engine::UserEvp));
[[nodiscard]] ServerHandshakeOptions server_options(const std::shared_ptr<const Credentials>& credentials,
                                                    const EnginePlan& plan = user_plan(Engine::UserEvp));
// Runs both ends by turns until each is done or has failed, or nothing moves any more. A client that is done becomes a tunnel
// at once and flushes what it held back, as the agent would by its first record.
struct Handshaken {
  HandshakeSocket::Step client_step = HandshakeSocket::Step::WantRead;
  HandshakeSocket::Step server_step = HandshakeSocket::Step::WantRead;
  HandshakeOutcome client_outcome;
  HandshakeOutcome server_outcome;
  HandshakeFailure client_failure = HandshakeFailure::None;
  HandshakeFailure server_failure = HandshakeFailure::None;
  std::string client_detail;
  std::string server_detail;
  TunnelSocket client;
  TunnelSocket server;
};
[[nodiscard]] Handshaken handshake(End& client_end, HandshakeSocket client, End& server_end, HandshakeSocket server);
[[nodiscard]] Handshaken handshake(End& client_end, const ClientHandshakeOptions& client, End& server_end,
                                   const ServerHandshakeOptions& server);

// Two tunnels between good ends, with everything that they need.
struct Tunnels {
  explicit Tunnels(const EnginePlan& client_plan = user_plan(Engine::UserEvp),
                   const EnginePlan& server_plan = user_plan(Engine::UserEvp));
  Authority authority;
  End client_end;
  End server_end;
  TunnelSocket client;
  TunnelSocket server;
};

// What one receive gave, with the segments' bytes copied.
struct Got {
  IoResult result;
  std::string data;  // application data
  std::vector<std::string> control;
};
[[nodiscard]] Got receive(End& end, TunnelSocket& socket, std::size_t bytes_max = IoContext::kBatchBytesMax);
// Receives until `done` says so, the end, or five seconds without anything.
[[nodiscard]] Got receive_until(End& end, TunnelSocket& socket, const std::function<bool(const Got&)>& done);
[[nodiscard]] IoResult send_data(End& end, TunnelSocket& socket, std::string_view data);
[[nodiscard]] IoResult send_control(End& end, TunnelSocket& socket, std::string_view data);
// Sends all of it while the other side reads; gives what arrived there.
[[nodiscard]] std::string transfer(End& from_end, TunnelSocket& from, End& to_end, TunnelSocket& to,
                                   std::string_view data);
// Bytes that do not repeat soon.
[[nodiscard]] std::string pattern(std::size_t size, std::uint32_t seed = 1);

}  // namespace culvert::tls::test
