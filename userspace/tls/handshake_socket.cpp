// SPDX-License-Identifier: Apache-2.0
#include "tls/handshake_socket.hpp"

#include <algorithm>

#include <openssl/err.h>

#include "base/assert.hpp"
#include "core/socket.hpp"
#include "tls/aead.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/handshake_state.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"

namespace culvert::tls {
namespace {

constexpr std::size_t kDetailBytesMax = 512;

// Length-prefixed names, RFC 7301 section 3.1.
constexpr std::string_view kWireDirect =
    "\x09"
    "culvert/1";
constexpr std::string_view kWireHbone =
    "\x02"
    "h2";

bool names_alert(unsigned long code) noexcept {
  return ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET;
}

}  // namespace

void HandshakeSocket::State::fail(HandshakeFailure what, std::string_view why) {
  if (has_failed()) return;
  failure = what;
  detail = why.substr(0, kDetailBytesMax);
  // Names in a certificate are the peer's own words.
  std::ranges::replace_if(detail, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
}

bool HandshakeSocket::State::may_use_kernel(const std::array<Engine, 3>& engines) const noexcept {
  return has_ulp && std::ranges::find(engines, Engine::Kernel) != engines.end();
}

std::optional<Cipher> HandshakeSocket::State::agreed_cipher() const noexcept {
  const SSL_CIPHER* found = ::SSL_get_current_cipher(ssl.get());
  if (found == nullptr) found = ::SSL_get_pending_cipher(ssl.get());
  if (found == nullptr) return std::nullopt;
  switch (::SSL_CIPHER_get_protocol_id(found)) {
    case 0x1301: return Cipher::Aes128Gcm;
    case 0x1302: return Cipher::Aes256Gcm;
    case 0x1303: return Cipher::ChaCha20Poly1305;
    default: return std::nullopt;
  }
}

HandshakeSocket::HandshakeSocket() noexcept = default;
HandshakeSocket::HandshakeSocket(HandshakeSocket&&) noexcept = default;
HandshakeSocket& HandshakeSocket::operator=(HandshakeSocket&&) noexcept = default;
HandshakeSocket::~HandshakeSocket() = default;

Result<HandshakeSocket> HandshakeSocket::make(UniqueFd fd, std::shared_ptr<const Credentials> credentials,
                                              std::span<const Alpn> alpn, const EnginePlan& plan, bool is_client) {
  HandshakeSocket socket;
  socket.state_ = std::make_unique<State>();
  State& state = *socket.state_;
  CV_ASSERT(credentials != nullptr && !alpn.empty() && alpn.size() <= state.alpn.size());
  state.fd = std::move(fd);
  state.credentials = std::move(credentials);
  state.plan = plan;
  state.is_client = is_client;
  for (const Alpn one : alpn) state.alpn[state.alpn_count++] = one;

  const auto& contexts = state.credentials->contexts();
  state.ssl.reset(::SSL_new(is_client ? contexts.client.get() : contexts.server.get()));
  BIO* bio = state.ssl ? state.make_bio() : nullptr;
  if (bio == nullptr) {
    return culvert::fail(ErrorCode::ResourceExhausted, "cannot start a TLS handshake: {}", take_openssl_error());
  }
  SSL* ssl = state.ssl.get();
  ::SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, &state);
  if (is_client) {
    std::string names;
    for (const Alpn one : alpn) names += one == Alpn::Direct ? kWireDirect : kWireHbone;
    const ByteView wire = as_bytes(names);
    if (::SSL_set_alpn_protos(ssl, wire.data(), static_cast<unsigned>(wire.size())) != 0) {
      return culvert::fail(ErrorCode::ResourceExhausted, "cannot set ALPN: {}", take_openssl_error());
    }
    ::SSL_set_connect_state(ssl);
  } else {
    ::SSL_set_accept_state(ssl);
  }
  return socket;
}

Result<HandshakeSocket> HandshakeSocket::client(UniqueFd fd, const ClientHandshakeOptions& options) {
  CV_ASSERT(!options.expected_peers.empty());
  HandshakeSocket socket = CV_TRY(make(std::move(fd), options.credentials, options.alpn, options.plan, true));
  socket.state_->expected_peers = options.expected_peers;
  socket.state_->store = options.resumption;
  socket.state_->revocation = options.revocation;
  socket.state_->trust_domains = options.trust_domains;
  return socket;
}

Result<HandshakeSocket> HandshakeSocket::server(UniqueFd fd, const ServerHandshakeOptions& options) {
  HandshakeSocket socket = CV_TRY(make(std::move(fd), options.credentials, options.alpn, options.plan, false));
  socket.state_->issuer = options.resumption;
  socket.state_->revocation = options.revocation;
  socket.state_->trust_domains = options.trust_domains;
  return socket;
}

HandshakeSocket::Step HandshakeSocket::advance(IoContext& context) {
  CV_ASSERT(state_ != nullptr);
  State& state = *state_;
  if (state.has_failed()) return Step::Failed;
  state.context = &context;
  const Step step = run();
  state.context = nullptr;
  return step;
}

HandshakeSocket::Step HandshakeSocket::run() {
  State& state = *state_;
  if (!state.is_started && !start()) return Step::Failed;
  while (!state.is_done) {
    // A flight that is stuck in the socket is sent before anything else is read.
    if (!state.out.empty()) {
      const State::Io io = state.flush();
      if (io != State::Io::Ok) return io == State::Io::WouldBlock ? Step::WantWrite : Step::Failed;
    }
    ::ERR_clear_error();
    const int status = ::SSL_do_handshake(state.ssl.get());
    if (status == 1) {
      if (!finish()) return Step::Failed;
      break;
    }
    if (::SSL_get_error(state.ssl.get(), status) != SSL_ERROR_WANT_READ) {
      refuse();
      return Step::Failed;
    }
    if (!state.out.empty()) continue;
    if (state.received > kHandshakeBytesMax) {
      state.fail(HandshakeFailure::TooLarge, fmt::format("more than {} bytes and still no end", kHandshakeBytesMax));
      return Step::Failed;
    }
    const State::Io io = state.feed();
    if (io != State::Io::Ok) return io == State::Io::WouldBlock ? Step::WantRead : Step::Failed;
  }
  // Records in user space: the last flight may leave together with the first of them. In the kernel: it must be gone before.
  if (state.out.empty() || !state.has_ulp || state.plan.tx[static_cast<std::size_t>(state.cipher)] != Engine::Kernel) {
    return Step::Done;
  }
  const State::Io io = state.flush();
  if (io == State::Io::Ok) return Step::Done;
  return io == State::Io::WouldBlock ? Step::WantWrite : Step::Failed;
}

bool HandshakeSocket::start() {
  State& state = *state_;
  state.is_started = true;
  if (state.is_client) {
    if (const int error = connect_error(state.fd.get()); error != 0) {
      state.fail(HandshakeFailure::Closed, fmt::format("cannot connect: {}", ::strerrordesc_np(error)));
      return false;
    }
  }
  // A socket without the kernel's TLS goes on with records in user space.
  if (state.plan.attach_ulp) state.has_ulp = kernel::attach_ulp(state.fd.get()) == 0;
  return true;
}

bool HandshakeSocket::finish() {
  State& state = *state_;
  state.settle();
  const auto cipher = state.agreed_cipher();
  const unsigned char* name = nullptr;
  unsigned size = 0;
  ::SSL_get0_alpn_selected(state.ssl.get(), &name, &size);
  if (state.is_client) {
    const std::string_view chosen = as_text({name, size});
    if (chosen != kWireDirect.substr(1) && chosen != kWireHbone.substr(1)) {
      state.fail(HandshakeFailure::Protocol, "the server chose no application protocol (ALPN)");
      return false;
    }
    state.outcome.alpn = chosen == kWireDirect.substr(1) ? Alpn::Direct : Alpn::Hbone;
  } else if (name == nullptr) {
    state.fail(HandshakeFailure::Protocol, "the client offers no application protocol (ALPN)");
    return false;
  }
  state.conclude_resumption();
  if (!cipher || state.client_secret.empty() || state.server_secret.empty() ||
      state.outcome.peer.trust_domain.empty()) {
    state.fail(HandshakeFailure::Protocol, "the handshake ended without keys or without a peer");
    return false;
  }
  state.cipher = *cipher;
  state.is_done = true;
  return true;
}

// OpenSSL gave up: says why, and lets its alert go if the socket takes it at once.
void HandshakeSocket::refuse() {
  State& state = *state_;
  const unsigned long code = ::ERR_peek_last_error();
  const bool is_alert = names_alert(code);
  const std::string reason = take_openssl_error();
  state.fail(is_alert ? HandshakeFailure::PeerAlert : HandshakeFailure::Protocol,
             is_alert ? fmt::format("the peer refused: {}", reason) : reason);
  static_cast<void>(state.flush());
}

int HandshakeSocket::fd() const noexcept { return state_ ? state_->fd.get() : -1; }
HandshakeFailure HandshakeSocket::failure() const noexcept { return state_ ? state_->failure : HandshakeFailure::None; }

const std::string& HandshakeSocket::failure_detail() const noexcept {
  static const std::string kNone;
  return state_ ? state_->detail : kNone;
}

const HandshakeOutcome& HandshakeSocket::outcome() const noexcept {
  CV_ASSERT(state_ != nullptr && state_->is_done);
  return state_->outcome;
}

std::optional<TunnelSocket> HandshakeSocket::into_tunnel(IoContext& context) {
  CV_ASSERT(state_ != nullptr && state_->is_done);
  State& state = *state_;
  state.ssl.reset();
  const auto index = static_cast<std::size_t>(state.cipher);
  TunnelSocket tunnel;
  tunnel.cipher_ = state.cipher;
  tunnel.is_client_ = state.is_client;
  tunnel.limits_ = state.plan.limits;
  tunnel.has_kernel_rekey_ = state.plan.kernel_rekey;
  const Secret<48>& tx_secret = state.is_client ? state.client_secret : state.server_secret;
  const Secret<48>& rx_secret = state.is_client ? state.server_secret : state.client_secret;
  if (!install_secret(state.cipher, tx_secret.view(), tunnel.tx_) ||
      !install_secret(state.cipher, rx_secret.view(), tunnel.rx_)) {
    state.fail(HandshakeFailure::RecordLayer, "cannot derive the record keys");
    return std::nullopt;
  }
  const auto user = [&](Engine wanted) {
    return effective_user_engine(state.cipher, wanted == Engine::Kernel ? context.engine_ : wanted);
  };
  tunnel.tx_engine_ = user(state.plan.tx[index]);
  tunnel.rx_engine_ = user(state.plan.rx[index]);
  if (state.has_ulp && state.plan.tx[index] == Engine::Kernel) {
    // With the ULP there and TLS_TX refused the kernel would send clear text: no second way is tried on this socket.
    CV_ASSERT(state.out.empty());
    if (const int error = kernel::install(state.fd.get(), kernel::Direction::Tx, state.cipher, tunnel.tx_);
        error != 0) {
      state.fail(HandshakeFailure::RecordLayer, fmt::format("the kernel refused the sending key of {}: {}",
                                                            to_string(state.cipher), ::strerrordesc_np(error)));
      return std::nullopt;
    }
    tunnel.tx_engine_ = Engine::Kernel;
  }
  if (state.has_ulp && state.plan.rx[index] == Engine::Kernel) {
    CV_ASSERT(state.in_read == state.in.size());
    if (kernel::install(state.fd.get(), kernel::Direction::Rx, state.cipher, tunnel.rx_) == 0) {
      tunnel.rx_engine_ = Engine::Kernel;
    }
  }
  if (!state.out.empty()) {
    context.pool().append(tunnel.pending_out_, ByteView(state.out).subspan(state.out_sent));
    tunnel.holds_flight_ = true;
  }
  if (state.in_read < state.in.size())
    context.pool().append(tunnel.pending_in_, ByteView(state.in).subspan(state.in_read));
  tunnel.fd_ = std::move(state.fd);
  state_.reset();
  return tunnel;
}

}  // namespace culvert::tls
