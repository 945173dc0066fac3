// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "tls/aead.hpp"
#include "tls/certificate.hpp"

namespace culvert::tls::test {
namespace {

std::int64_t now_s() { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

Issued issue_leaf(const LeafOptions& options, X509* issuer, EVP_PKEY* issuer_key) {
  const KeyPtr key = std::move(*make_p256_key());
  CertificateTemplate leaf;
  leaf.not_before_s = now_s() + options.from_s;
  leaf.not_after_s = now_s() + options.until_s;
  const auto add = [&](int nid, const std::string& value) {
    if (!value.empty()) leaf.extensions.emplace_back(nid, value);
  };
  add(NID_basic_constraints, options.basic_constraints);
  add(NID_key_usage, options.key_usage);
  add(NID_ext_key_usage, options.extended_key_usage);
  add(NID_subject_alt_name, options.alternative_names);
  add(NID_authority_key_identifier, options.authority_key_identifier);
  const CertificatePtr certificate = std::move(*make_certificate(leaf, key.get(), issuer, issuer_key));
  return {*to_pem(certificate.get()), *to_pem(key.get())};
}

}  // namespace

Authority::Authority() {
  key_ = std::move(*make_p256_key());
  CertificateTemplate root;
  root.common_name = "test root";
  root.not_before_s = now_s() - 7200;
  root.not_after_s = now_s() + 86400;
  root.extensions = {{NID_basic_constraints, "critical,CA:TRUE"},
                     {NID_key_usage, "critical,keyCertSign,cRLSign"},
                     {NID_subject_key_identifier, "hash"}};
  root_ = std::move(*make_certificate(root, key_.get(), nullptr, key_.get()));
  root_pem_ = *to_pem(root_.get());
}

Authority::Intermediate Authority::intermediate(const std::string& key_usage) const {
  Intermediate made;
  made.key = std::move(*make_p256_key());
  CertificateTemplate form;
  form.common_name = "test intermediate";
  form.not_before_s = now_s() - 3600;
  form.not_after_s = now_s() + 7200;
  form.extensions = {{NID_basic_constraints, "critical,CA:TRUE"}, {NID_key_usage, key_usage}};
  made.certificate = std::move(*make_certificate(form, made.key.get(), root_.get(), key_.get()));
  made.pem = *to_pem(made.certificate.get());
  return made;
}

std::shared_ptr<const Credentials> Authority::Intermediate::credentials(std::string_view identity,
                                                                        const std::string& root_pem) const {
  LeafOptions options;
  options.alternative_names = "URI:" + std::string(identity);
  const Issued issued = issue_leaf(options, certificate.get(), this->key.get());
  auto made = Credentials::from_pem(issued.chain_pem + pem, issued.key_pem, root_pem);
  if (!made) FAIL(made.error().message());
  return *made;
}

Issued Authority::issue(const LeafOptions& options) const { return issue_leaf(options, root_.get(), key_.get()); }

std::shared_ptr<const Credentials> Authority::credentials(std::string_view identity) const {
  LeafOptions options;
  options.alternative_names = "URI:" + std::string(identity);
  const Issued issued = issue(options);
  auto made = Credentials::from_pem(issued.chain_pem, issued.key_pem, root_pem_);
  if (!made) FAIL(made.error().message());
  return *made;
}

std::pair<UniqueFd, UniqueFd> tcp_pair() {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener.get(), raw, size) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), raw, &size) == 0);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(client.get(), raw, size) == 0);
  UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(server.is_open());
  for (const int fd : {client.get(), server.get()}) {
    REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    const int on = 1;
    REQUIRE(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
  }
  return {std::move(client), std::move(server)};
}

void wait_for(int fd, short events, int timeout_ms) {
  pollfd entry{fd, events, 0};
  static_cast<void>(::poll(&entry, 1, timeout_ms));
}

EnginePlan user_plan(Engine engine) {
  EnginePlan plan;
  for (std::size_t i = 0; i < plan.tx.size(); ++i) {
    plan.tx[i] = plan.rx[i] = effective_user_engine(static_cast<Cipher>(i), engine);
  }
  plan.user = engine;
  return plan;
}

ClientHandshakeOptions client_options(const std::shared_ptr<const Credentials>& credentials, const EnginePlan& plan) {
  ClientHandshakeOptions options;
  options.credentials = credentials;
  options.expected_peers = {*SpiffeId::parse(kServerId)};
  options.alpn = kDirectOnly;
  options.plan = plan;
  return options;
}

ServerHandshakeOptions server_options(const std::shared_ptr<const Credentials>& credentials, const EnginePlan& plan) {
  ServerHandshakeOptions options;
  options.credentials = credentials;
  options.alpn = kDirectOnly;
  options.plan = plan;
  return options;
}

Handshaken handshake(End& client_end, HandshakeSocket client, End& server_end, HandshakeSocket server) {
  using Step = HandshakeSocket::Step;
  Handshaken result;
  const auto is_over = [](Step step) { return step == Step::Done || step == Step::Failed; };
  for (int idle = 0; idle < 20;) {
    if (!is_over(result.client_step)) {
      result.client_step = client.advance(client_end.context);
      if (result.client_step == Step::Done) {
        result.client_outcome = client.outcome();
        if (auto tunnel = client.into_tunnel(client_end.context)) {
          result.client = std::move(*tunnel);
          CHECK(result.client.flush(client_end.context).status == IoStatus::Ok);
        } else {
          result.client_step = Step::Failed;
        }
      }
      if (result.client_step == Step::Failed) {
        result.client_failure = client.failure();
        result.client_detail = client.failure_detail();
        client = HandshakeSocket();  // closes, as the agent does
      }
    }
    if (!is_over(result.server_step)) {
      result.server_step = server.advance(server_end.context);
      if (result.server_step == Step::Done) {
        result.server_outcome = server.outcome();
        if (auto tunnel = server.into_tunnel(server_end.context)) {
          result.server = std::move(*tunnel);
        } else {
          result.server_step = Step::Failed;
        }
      }
      if (result.server_step == Step::Failed) {
        result.server_failure = server.failure();
        result.server_detail = server.failure_detail();
        server = HandshakeSocket();
      }
    }
    if (is_over(result.client_step) && is_over(result.server_step)) break;
    pollfd entries[2] = {{is_over(result.client_step) ? -1 : client.fd(), POLLIN, 0},
                         {is_over(result.server_step) ? -1 : server.fd(), POLLIN, 0}};
    if (::poll(entries, 2, 50) == 0) ++idle;
  }
  return result;
}

Handshaken handshake(End& client_end, const ClientHandshakeOptions& client, End& server_end,
                     const ServerHandshakeOptions& server) {
  auto [near, far] = tcp_pair();
  return handshake(client_end, std::move(*HandshakeSocket::client(std::move(near), client)), server_end,
                   std::move(*HandshakeSocket::server(std::move(far), server)));
}

Tunnels::Tunnels(const EnginePlan& client_plan, const EnginePlan& server_plan)
    : client_end(client_plan.user), server_end(server_plan.user) {
  Handshaken both = handshake(client_end, client_options(authority.credentials(kClientId), client_plan), server_end,
                              server_options(authority.credentials(kServerId), server_plan));
  INFO(both.client_detail << " / " << both.server_detail);
  REQUIRE(both.client.is_open());
  REQUIRE(both.server.is_open());
  client = std::move(both.client);
  server = std::move(both.server);
}

Got receive(End& end, TunnelSocket& socket, std::size_t bytes_max) {
  Got got;
  got.result = socket.receive(end.context, bytes_max);
  for (const Segment& segment : end.context.segments()) {
    if (segment.type == RecordType::Control) {
      got.control.emplace_back(as_text(segment.data));
    } else {
      got.data += as_text(segment.data);
    }
  }
  return got;
}

Got receive_until(End& end, TunnelSocket& socket, const std::function<bool(const Got&)>& done) {
  Got all;
  const std::uint64_t limit = monotonic_ms() + 5000;
  while (monotonic_ms() < limit) {
    Got got = receive(end, socket);
    all.result = got.result;
    all.data += got.data;
    for (std::string& message : got.control) all.control.push_back(std::move(message));
    if (done(all) || (got.result.status != IoStatus::Ok && got.result.status != IoStatus::WouldBlock)) return all;
    if (got.result.status == IoStatus::WouldBlock) wait_for(socket.fd(), POLLIN, 100);
  }
  return all;
}

IoResult send_data(End& end, TunnelSocket& socket, std::string_view data) {
  return socket.send(end.context, {{RecordType::ApplicationData, as_bytes(data)}});
}

IoResult send_control(End& end, TunnelSocket& socket, std::string_view data) {
  return socket.send(end.context, {{RecordType::Control, as_bytes(data)}});
}

std::string transfer(End& from_end, TunnelSocket& from, End& to_end, TunnelSocket& to, std::string_view data) {
  std::string arrived;
  const std::size_t total = data.size();
  const std::uint64_t limit = monotonic_ms() + 60'000;
  while (arrived.size() < total && monotonic_ms() < limit) {
    if (from.wants_write()) static_cast<void>(from.flush(from_end.context));
    if (!data.empty() && !from.wants_write()) {
      const IoResult result = send_data(from_end, from, data);
      if (result.status == IoStatus::Error) break;
      data.remove_prefix(result.bytes);
    }
    const Got got = receive(to_end, to);
    arrived += got.data;
    if (got.result.status != IoStatus::Ok && got.result.status != IoStatus::WouldBlock) break;
    if (got.data.empty() && (data.empty() || from.wants_write())) wait_for(to.fd(), POLLIN, 20);
  }
  return arrived;
}

std::string pattern(std::size_t size, std::uint32_t seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24U);
  }
  return text;
}

}  // namespace culvert::tls::test
