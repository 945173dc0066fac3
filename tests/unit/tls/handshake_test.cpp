// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <algorithm>

#include <poll.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/peer_verifier.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using Step = HandshakeSocket::Step;

TEST_CASE("both ends learn each other's identity and the application protocol") {
  Authority authority;
  End client_end;
  End server_end;
  const Handshaken both = handshake(client_end, client_options(authority.credentials(kClientId)), server_end,
                                    server_options(authority.credentials(kServerId)));
  INFO(both.client_detail << " / " << both.server_detail);
  REQUIRE(both.client_step == Step::Done);
  REQUIRE(both.server_step == Step::Done);
  CHECK(both.client_outcome.peer.to_string() == kServerId);
  CHECK(both.server_outcome.peer.to_string() == kClientId);
  CHECK(both.client_outcome.alpn == Alpn::Direct);
  CHECK(both.server_outcome.alpn == Alpn::Direct);
  CHECK(both.client.cipher() == Cipher::Aes128Gcm);
  CHECK(both.server.cipher() == Cipher::Aes128Gcm);
}

TEST_CASE("the first protocol of the client's list that the server knows is chosen") {
  Authority authority;
  End client_end;
  End server_end;
  struct Row {
    std::vector<Alpn> client;
    std::vector<Alpn> server;
    std::optional<Alpn> chosen;
  };
  const std::vector<Row> rows = {
      {{Alpn::Direct, Alpn::Hbone}, {Alpn::Hbone, Alpn::Direct}, Alpn::Direct},
      {{Alpn::Hbone, Alpn::Direct}, {Alpn::Direct, Alpn::Hbone}, Alpn::Hbone},
      {{Alpn::Direct, Alpn::Hbone}, {Alpn::Hbone}, Alpn::Hbone},
      {{Alpn::Direct}, {Alpn::Hbone}, std::nullopt},
  };
  for (const Row& row : rows) {
    ClientHandshakeOptions client = client_options(authority.credentials(kClientId));
    ServerHandshakeOptions server = server_options(authority.credentials(kServerId));
    client.alpn = row.client;
    server.alpn = row.server;
    const Handshaken both = handshake(client_end, client, server_end, server);
    CHECK((both.client_step == Step::Done) == row.chosen.has_value());
    if (row.chosen) {
      CHECK(both.client_outcome.alpn == *row.chosen);
      CHECK(both.server_outcome.alpn == *row.chosen);
    } else {
      CHECK(both.server_failure == HandshakeFailure::Protocol);
      CHECK(both.server_detail.find("ALPN") != std::string::npos);
      CHECK(both.client_failure == HandshakeFailure::PeerAlert);
    }
  }
}

TEST_CASE("the client's last flight leaves in one segment with its first record") {
  Authority authority;
  End client_end;
  End server_end;
  auto [near, far] = tcp_pair();
  const int far_fd = far.get();
  auto client = std::move(*HandshakeSocket::client(std::move(near), client_options(authority.credentials(kClientId))));
  auto server = std::move(*HandshakeSocket::server(std::move(far), server_options(authority.credentials(kServerId))));
  REQUIRE(client.advance(client_end.context) == Step::WantRead);
  wait_for(far_fd, POLLIN);
  REQUIRE(server.advance(server_end.context) == Step::WantRead);
  wait_for(client.fd(), POLLIN);
  REQUIRE(client.advance(client_end.context) == Step::Done);
  char byte = 0;
  CHECK(::recv(far_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1);  // held back
  auto tunnel = client.into_tunnel(client_end.context);
  REQUIRE(tunnel);
  CHECK(tunnel->wants_write());
  CHECK(send_data(client_end, *tunnel, "first words").bytes == 11);
  CHECK_FALSE(tunnel->wants_write());
  wait_for(far_fd, POLLIN);
  REQUIRE(server.advance(server_end.context) == Step::Done);  // reads ahead: the record came along
  auto far_tunnel = server.into_tunnel(server_end.context);
  REQUIRE(far_tunnel);
  CHECK(receive(server_end, *far_tunnel).data == "first words");
}

namespace {

struct Case {
  std::string name;
  LeafOptions leaf;
  HandshakeFailure failure;
  std::string detail;
};

std::vector<Case> bad_leaves(std::string_view good_id) {
  const std::string uri = "URI:" + std::string(good_id);
  const auto leaf = [&](auto&& change) {
    LeafOptions options;
    options.alternative_names = uri;
    change(options);
    return options;
  };
  return {
      {"expired", leaf([](auto& o) {
         o.from_s = -7000;
         o.until_s = -10;
       }),
       HandshakeFailure::PeerCertificate, "expired; it is valid from"},
      {"not yet valid", leaf([](auto& o) { o.from_s = 600; }), HandshakeFailure::PeerCertificate,
       "not yet valid; it is valid from"},
      {"no name", leaf([](auto& o) { o.alternative_names = ""; }), HandshakeFailure::PeerIdentity,
       "no subject alternative name"},
      {"a DNS name only", leaf([](auto& o) { o.alternative_names = "DNS:example.org"; }),
       HandshakeFailure::PeerIdentity, "no URI name"},
      {"two URI names", leaf([&](auto& o) { o.alternative_names = uri + "," + uri + "2"; }),
       HandshakeFailure::PeerIdentity, "more than one URI name"},
      {"not a SPIFFE ID", leaf([](auto& o) { o.alternative_names = "URI:https://example.org/x"; }),
       HandshakeFailure::PeerIdentity, "'https://example.org/x' is not a SPIFFE ID"},
      {"a CA certificate", leaf([](auto& o) {
         o.basic_constraints = "critical,CA:TRUE";
         o.key_usage = "critical,digitalSignature,keyCertSign";
       }),
       HandshakeFailure::PeerCertificate, "CA certificate"},
      {"no digitalSignature", leaf([](auto& o) { o.key_usage = "critical,keyAgreement"; }),
       HandshakeFailure::PeerCertificate, "digitalSignature"},
      {"key usage absent", leaf([](auto& o) { o.key_usage = ""; }), HandshakeFailure::PeerCertificate,
       "digitalSignature"},
  };
}

}  // namespace

TEST_CASE("a server with a bad certificate is refused by the client with the reason") {
  Authority authority;
  for (const Case& bad : bad_leaves(kServerId)) {
    CAPTURE(bad.name);
    End client_end;
    End server_end;
    const Issued issued = authority.issue(bad.leaf);
    auto server_credentials = Credentials::from_pem(issued.chain_pem, issued.key_pem, authority.root_pem());
    if (!server_credentials) {  // Credentials refuses it for ourselves already: the peer that we meet may not
      CHECK(bad.failure == HandshakeFailure::PeerIdentity);
      continue;
    }
    const Handshaken both = handshake(client_end, client_options(authority.credentials(kClientId)), server_end,
                                      server_options(*server_credentials));
    CHECK(both.client_step == Step::Failed);
    CHECK(both.client_failure == bad.failure);
    CHECK_THAT(both.client_detail, Catch::Contains(bad.detail));
    CHECK(both.server_step == Step::Failed);
    CHECK(both.server_failure == HandshakeFailure::PeerAlert);
  }
}

TEST_CASE("a client with a bad certificate is refused by the server and learns it from an alert") {
  Authority authority;
  for (const Case& bad : bad_leaves(kClientId)) {
    CAPTURE(bad.name);
    End client_end;
    End server_end;
    const Issued issued = authority.issue(bad.leaf);
    auto client_credentials = Credentials::from_pem(issued.chain_pem, issued.key_pem, authority.root_pem());
    if (!client_credentials) continue;
    Handshaken both = handshake(client_end, client_options(*client_credentials), server_end,
                                server_options(authority.credentials(kServerId)));
    CHECK(both.server_step == Step::Failed);
    CHECK(both.server_failure == bad.failure);
    CHECK_THAT(both.server_detail, Catch::Contains(bad.detail));
    // In TLS 1.3 the client is done before the server has seen its certificate.
    REQUIRE(both.client_step == Step::Done);
    const Got got = receive_until(client_end, both.client, [](const Got&) { return false; });
    CHECK(got.result.status == IoStatus::Error);
    CHECK(got.result.failure == IoFailure::PeerAlert);
    CHECK(both.client.peer_alert() != 0);
  }
}

TEST_CASE("extended key usage must name the role") {
  Authority authority;
  LeafOptions only_client;
  only_client.extended_key_usage = "clientAuth";
  LeafOptions only_server;
  only_server.extended_key_usage = "serverAuth";
  only_server.alternative_names = "URI:" + std::string(kClientId);
  LeafOptions no_usage;
  no_usage.extended_key_usage = "";
  const auto credentials = [&](const LeafOptions& leaf) {
    const Issued issued = authority.issue(leaf);
    return *Credentials::from_pem(issued.chain_pem, issued.key_pem, authority.root_pem());
  };
  End a;
  End b;
  const Handshaken first =
      handshake(a, client_options(authority.credentials(kClientId)), b, server_options(credentials(only_client)));
  CHECK(first.client_failure == HandshakeFailure::PeerCertificate);
  CHECK_THAT(first.client_detail, Catch::Contains("serverAuth"));
  const Handshaken second =
      handshake(a, client_options(credentials(only_server)), b, server_options(authority.credentials(kServerId)));
  CHECK(second.server_failure == HandshakeFailure::PeerCertificate);
  CHECK_THAT(second.server_detail, Catch::Contains("clientAuth"));
  // X.509-SVID section 4.4: it may be absent.
  const Handshaken third =
      handshake(a, client_options(authority.credentials(kClientId)), b, server_options(credentials(no_usage)));
  CHECK(third.client_step == Step::Done);
}

TEST_CASE("a certificate of another authority is refused at both ends") {
  Authority authority;
  Authority other;
  End client_end;
  End server_end;
  const Issued foreign = other.issue({});
  const auto mixed = *Credentials::from_pem(foreign.chain_pem, foreign.key_pem, authority.root_pem());
  const Handshaken both =
      handshake(client_end, client_options(authority.credentials(kClientId)), server_end, server_options(mixed));
  CHECK(both.client_failure == HandshakeFailure::PeerCertificate);
  CHECK_THAT(both.client_detail, Catch::Contains("signature failure"));

  LeafOptions leaf;
  leaf.alternative_names = "URI:" + std::string(kClientId);
  const Issued client = other.issue(leaf);
  const auto client_mixed = *Credentials::from_pem(client.chain_pem, client.key_pem, authority.root_pem());
  const Handshaken reverse =
      handshake(client_end, client_options(client_mixed), server_end, server_options(authority.credentials(kServerId)));
  CHECK(reverse.server_failure == HandshakeFailure::PeerCertificate);
  CHECK_THAT(reverse.server_detail, Catch::Contains("signature failure"));
}

TEST_CASE("the client takes nobody but whom it expects") {
  Authority authority;
  End client_end;
  End server_end;
  ClientHandshakeOptions client = client_options(authority.credentials(kClientId));
  client.expected_peers = {*SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/other")};
  const Handshaken both = handshake(client_end, client, server_end, server_options(authority.credentials(kServerId)));
  CHECK(both.client_failure == HandshakeFailure::PeerIdentity);
  CHECK_THAT(both.client_detail, Catch::Contains(std::string(kServerId)) && Catch::Contains("sa/other"));
  // The memory of verified chains does not soften it, nor does a refusal spoil it for the right client.
  client.expected_peers.push_back(*SpiffeId::parse(kServerId));
  CHECK(handshake(client_end, client, server_end, server_options(authority.credentials(kServerId))).client_step ==
        Step::Done);
}

TEST_CASE("a client of another trust domain is refused") {
  Authority authority;
  End client_end;
  End server_end;
  const Handshaken both =
      handshake(client_end, client_options(authority.credentials("spiffe://other.example/ns/shop/sa/cart")), server_end,
                server_options(authority.credentials(kServerId)));
  CHECK(both.server_failure == HandshakeFailure::PeerIdentity);
  CHECK_THAT(both.server_detail, Catch::Contains("other.example") && Catch::Contains("cluster.local"));
}

TEST_CASE("peers of an alias of the own trust domain are accepted, in both roles, and keep their name") {
  const Authority authority;
  const TrustDomains aliases({"cluster.local", "old.example"});  // as both halves of a mesh have it
  const std::string old_client = "spiffe://old.example/ns/shop/sa/cart";
  const std::string old_server = "spiffe://old.example/ns/shop/sa/stock";
  const auto meet = [&](std::string_view client_id, std::string_view server_id, std::string_view expected,
                        const TrustDomains* at_client, const TrustDomains* at_server) {
    End client_end;
    End server_end;
    ClientHandshakeOptions client = client_options(authority.credentials(client_id));
    client.expected_peers = {*SpiffeId::parse(expected)};
    client.trust_domains = at_client;
    ServerHandshakeOptions server = server_options(authority.credentials(server_id));
    server.trust_domains = at_server;
    return handshake(client_end, client, server_end, server);
  };
  const Handshaken both = meet(old_client, kServerId, kServerId, &aliases, &aliases);
  INFO(both.client_detail << " / " << both.server_detail);
  CHECK(both.server_step == Step::Done);
  CHECK(both.server_outcome.peer.to_string() == old_client);
  // The mesh calls the server by one name, its certificate by the other.
  const Handshaken renamed = meet(kClientId, old_server, kServerId, &aliases, &aliases);
  CHECK(renamed.client_step == Step::Done);
  CHECK(renamed.server_step == Step::Done);
  CHECK(renamed.client_outcome.peer.to_string() == old_server);
  CHECK(meet(kClientId, kServerId, old_server, &aliases, &aliases).client_step == Step::Done);
  // Namespace and account count as ever, and so do domains that are no alias.
  CHECK(meet(kClientId, old_server, "spiffe://cluster.local/ns/shop/sa/other", &aliases, &aliases).client_failure ==
        HandshakeFailure::PeerIdentity);
  CHECK(meet(kClientId, old_server, "spiffe://foreign.example/ns/shop/sa/stock", &aliases, &aliases).client_failure ==
        HandshakeFailure::PeerIdentity);
  CHECK(meet("spiffe://foreign.example/ns/shop/sa/cart", kServerId, kServerId, &aliases, &aliases).server_failure ==
        HandshakeFailure::PeerIdentity);
  CHECK(meet(kClientId, old_server, kServerId, nullptr, &aliases).client_failure == HandshakeFailure::PeerIdentity);
}

TEST_CASE("a chain that was verified is remembered per role and roots, and only for a while") {
  VerifiedPeers known;
  VerifiedPeers::Digest digest{};
  known.remember(digest, {*SpiffeId::parse(kServerId), 1'000'000}, 1000);
  CHECK(known.find(digest, 1000) != nullptr);
  CHECK(known.find(digest, 1000 + VerifiedPeers::kLifetimeS) == nullptr);
  CHECK(known.size() == 0);
  known.remember(digest, {*SpiffeId::parse(kServerId), 1100}, 1000);
  CHECK(known.find(digest, 1099) != nullptr);
  CHECK(known.find(digest, 1100) == nullptr);  // the certificate's own end
  for (std::size_t i = 0; i < VerifiedPeers::kEntriesMax + 10; ++i) {
    std::memcpy(digest.data(), &i, sizeof(i));
    known.remember(digest, {*SpiffeId::parse(kServerId), 1'000'000}, 1000);
  }
  CHECK(known.size() <= VerifiedPeers::kEntriesMax);

  Authority authority;
  End client_end;
  End server_end;
  const auto client = client_options(authority.credentials(kClientId));
  const auto server = server_options(authority.credentials(kServerId));
  for (int i = 0; i < 3; ++i) CHECK(handshake(client_end, client, server_end, server).server_step == Step::Done);
  CHECK(client_end.context.verified_peers().size() == 1);
  CHECK(server_end.context.verified_peers().size() == 1);
}

TEST_CASE("garbage, clear text and nothing at all end a handshake") {
  Authority authority;
  End end;
  const auto server = [&](std::string_view sent, bool then_close) {
    auto [near, far] = tcp_pair();
    auto socket = std::move(*HandshakeSocket::server(std::move(far), server_options(authority.credentials(kServerId))));
    REQUIRE(::send(near.get(), sent.data(), sent.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(sent.size()));
    if (then_close) near.reset();
    wait_for(socket.fd(), POLLIN, 200);
    const Step step = socket.advance(end.context);
    return std::pair(step, socket.failure());
  };
  CHECK(server("GET / HTTP/1.1\r\n\r\n", false) == std::pair(Step::Failed, HandshakeFailure::Protocol));
  CHECK(server(pattern(3000), false) == std::pair(Step::Failed, HandshakeFailure::Protocol));
  CHECK(server("", true) == std::pair(Step::Failed, HandshakeFailure::Closed));
  CHECK(server("\x16\x03\x01\x02", true) == std::pair(Step::Failed, HandshakeFailure::Closed));
  CHECK(server("\x16\x03\x01\x02", false).first == Step::WantRead);
}

TEST_CASE("a handshake that never ends is cut at its limit of bytes") {
  Authority authority;
  End end;
  auto [near, far] = tcp_pair();
  auto socket = std::move(*HandshakeSocket::server(std::move(far), server_options(authority.credentials(kServerId))));
  // A ClientHello that says it has 16 MiB to come, in full records.
  std::string record = {0x16, 0x03, 0x01, 0x40, 0x00, 0x01};
  record += std::string("\xff\xff\xff", 3);
  record.resize(5 + 16384, 'x');
  Step step = Step::WantRead;
  for (int i = 0; i < 20 && step == Step::WantRead; ++i) {
    static_cast<void>(::send(near.get(), record.data(), record.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    wait_for(socket.fd(), POLLIN, 100);
    step = socket.advance(end.context);
  }
  CHECK(step == Step::Failed);
  CHECK((socket.failure() == HandshakeFailure::TooLarge || socket.failure() == HandshakeFailure::Protocol));
}

TEST_CASE("a handshake delivered byte by byte succeeds") {
  Authority authority;
  End client_end;
  End server_end;
  auto [client_fd, client_wire] = tcp_pair();
  auto [server_fd, server_wire] = tcp_pair();
  auto client =
      std::move(*HandshakeSocket::client(std::move(client_fd), client_options(authority.credentials(kClientId))));
  auto server =
      std::move(*HandshakeSocket::server(std::move(server_fd), server_options(authority.credentials(kServerId))));
  const auto trickle = [](int from, int to, auto&& each) {
    char byte = 0;
    wait_for(from, POLLIN, 50);
    while (::recv(from, &byte, 1, MSG_DONTWAIT) == 1) {
      REQUIRE(::send(to, &byte, 1, 0) == 1);
      each();
    }
  };
  Step client_step = client.advance(client_end.context);
  Step server_step = Step::WantRead;
  std::optional<TunnelSocket> tunnel;
  for (int round = 0; round < 10 && server_step == Step::WantRead; ++round) {
    trickle(client_wire.get(), server_wire.get(), [&] {
      wait_for(server.fd(), POLLIN, 20);
      if (server_step == Step::WantRead) server_step = server.advance(server_end.context);
    });
    trickle(server_wire.get(), client_wire.get(), [&] {
      if (client_step != Step::WantRead) return;
      wait_for(client.fd(), POLLIN, 20);
      client_step = client.advance(client_end.context);
      if (client_step != Step::Done) return;
      tunnel = client.into_tunnel(client_end.context);
      REQUIRE(tunnel);
      static_cast<void>(tunnel->flush(client_end.context));
    });
  }
  CHECK(client_step == Step::Done);
  CHECK(server_step == Step::Done);
}

TEST_CASE("a client whose connect failed says so") {
  Authority authority;
  End end;
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  auto [near, far] = tcp_pair();
  far.reset();  // RST or FIN: the handshake cannot go on
  auto client = std::move(*HandshakeSocket::client(std::move(near), client_options(authority.credentials(kClientId))));
  Step step = client.advance(end.context);
  for (int i = 0; i < 10 && step == Step::WantRead; ++i) {
    wait_for(client.fd(), POLLIN, 100);
    step = client.advance(end.context);
  }
  CHECK(step == Step::Failed);
  CHECK(client.failure() == HandshakeFailure::Closed);
  CHECK_FALSE(client.failure_detail().empty());
}
