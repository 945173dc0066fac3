// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/resumption.hpp"
#include "two_ends.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using Step = HandshakeSocket::Step;

namespace {

const SpiffeId kClient = *SpiffeId::parse(kClientId);
const SpiffeId kServer = *SpiffeId::parse(kServerId);
constexpr TicketTag kTag = {1, 2, 3, 4, 5, 6, 7, 8};
constexpr std::int64_t kNow = 1'800'000'000;

Secret<32> secret_of(std::uint8_t byte) {
  std::array<std::uint8_t, 32> bytes;
  bytes.fill(byte);
  return Secret<32>(bytes);
}

ResumptionFacts facts(std::int64_t not_after_s = kNow + 100'000) {
  ResumptionFacts made;
  made.client = kClient;
  made.server = kServer;
  made.not_after_s = not_after_s;
  return made;
}

std::int64_t now_s() { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

// Two ends that resume, and what one handshake between them gives.
struct Ends : TwoEnds {
  const TrustDomains* trust_domains = nullptr;

  Handshaken once() {
    return meet(true, [this](ClientHandshakeOptions& client_side, ServerHandshakeOptions& server_side) {
      client_side.trust_domains = server_side.trust_domains = trust_domains;
    });
  }
  void introduce() { keep_ticket(once()); }
};

void check_full(const Handshaken& both) {
  CHECK(both.client_step == Step::Done);
  CHECK(both.server_step == Step::Done);
  CHECK_FALSE(both.client_outcome.is_resumed);
  CHECK_FALSE(both.server_outcome.is_resumed);
}

}  // namespace

TEST_CASE("the second handshake of two identities is resumed, with the identities of the first") {
  Ends ends;
  ends.introduce();
  for (int i = 0; i < 3; ++i) {
    Handshaken again = ends.once();
    INFO(again.client_detail << " / " << again.server_detail);
    REQUIRE(again.client_step == Step::Done);
    REQUIRE(again.server_step == Step::Done);
    CHECK(again.client_outcome.is_resumed);
    CHECK(again.server_outcome.is_resumed);
    CHECK(again.client_outcome.peer == kServer);
    CHECK(again.server_outcome.peer == kClient);
    CHECK(again.client_outcome.alpn == Alpn::Direct);
    CHECK(again.server_outcome.ticket.empty());
    CHECK(again.client.cipher() == Cipher::Aes128Gcm);
    CHECK(send_data(ends.client_end, again.client, "resumed").bytes == 7);
    CHECK(receive_until(ends.server_end, again.server, [](const Got& got) { return !got.data.empty(); }).data ==
          "resumed");
    CHECK(send_data(ends.server_end, again.server, "indeed").bytes == 6);
    CHECK(receive_until(ends.client_end, again.client, [](const Got& got) { return !got.data.empty(); }).data ==
          "indeed");
  }
}

TEST_CASE("without a ticket, or with resumption on one side only, handshakes are full") {
  Ends ends;
  check_full(ends.once());  // the ticket was not kept
  check_full(ends.once());
  ends.introduce();
  ClientHandshakeOptions client = client_options(ends.client);
  ServerHandshakeOptions server = server_options(ends.server);
  SECTION("the server does not resume") {
    client.resumption = &ends.store;
    check_full(handshake(ends.client_end, client, ends.server_end, server));
    CHECK(ends.store.tickets() == 0);  // it was refused: it is not shown again
  }
  SECTION("the client does not resume") {
    server.resumption = &ends.issuer;
    check_full(handshake(ends.client_end, client, ends.server_end, server));
  }
}

TEST_CASE("a server that was restarted does a full handshake and the client forgets the ticket") {
  Ends ends;
  ends.introduce();
  ResumptionIssuer restarted;
  ClientHandshakeOptions client = client_options(ends.client);
  ServerHandshakeOptions server = server_options(ends.server);
  client.resumption = &ends.store;
  server.resumption = &restarted;
  const Handshaken both = handshake(ends.client_end, client, ends.server_end, server);
  check_full(both);
  CHECK(ends.store.tickets() == 0);
  CHECK(ends.store.keep(both.server_outcome.ticket, both.server_outcome.ticket_lifetime_s, now_s()));
  CHECK(handshake(ends.client_end, client, ends.server_end, server).server_outcome.is_resumed);
}

TEST_CASE("a ticket is of no use to another client identity, for another server or another expectation") {
  Ends ends;
  ends.introduce();
  SECTION("another client identity") {
    ends.client = ends.authority.credentials("spiffe://cluster.local/ns/shop/sa/somebody");
    const Handshaken both = ends.once();
    check_full(both);
    CHECK(both.server_outcome.peer.service_account == "somebody");
  }
  SECTION("another server identity") {
    ends.server = ends.authority.credentials("spiffe://cluster.local/ns/shop/sa/impostor");
    const Handshaken both = ends.once();
    CHECK(both.client_failure == HandshakeFailure::PeerIdentity);
  }
  SECTION("another expectation") {
    ClientHandshakeOptions client = client_options(ends.client);
    ServerHandshakeOptions server = server_options(ends.server);
    client.expected_peers = {*SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/other")};
    client.resumption = &ends.store;
    server.resumption = &ends.issuer;
    CHECK(handshake(ends.client_end, client, ends.server_end, server).client_failure == HandshakeFailure::PeerIdentity);
  }
  SECTION("other roots at the server") {
    // It trusts one authority more now: what was verified under the old set does not count.
    Authority second;
    LeafOptions leaf;
    const Issued issued = ends.authority.issue(leaf);
    ends.server =
        *Credentials::from_pem(issued.chain_pem, issued.key_pem, ends.authority.root_pem() + second.root_pem());
    check_full(ends.once());
  }
  SECTION("renewed certificates under the same roots resume") {
    ends.client = ends.authority.credentials(kClientId);
    ends.server = ends.authority.credentials(kServerId);
    CHECK(ends.once().server_outcome.is_resumed);
  }
}

TEST_CASE("a stolen ticket without its secret is refused") {
  Ends ends;
  const Handshaken first = ends.once();
  TicketTag tag;
  std::copy_n(first.server_outcome.ticket.begin() + 1, tag.size(), tag.begin());
  ResumptionFacts claimed = facts(now_s() + 1000);
  claimed.roots = ends.client->contexts().roots_digest;
  ResumptionStore thief;
  thief.expect(tag, secret_of(9), claimed);
  REQUIRE(thief.keep(first.server_outcome.ticket, 600, now_s()));
  ClientHandshakeOptions client = client_options(ends.client);
  ServerHandshakeOptions server = server_options(ends.server);
  client.resumption = &thief;
  server.resumption = &ends.issuer;
  const Handshaken both = handshake(ends.client_end, client, ends.server_end, server);
  CHECK(both.server_step == Step::Failed);
  CHECK(both.server_failure == HandshakeFailure::Protocol);
  CHECK_THAT(both.server_detail, Catch::Contains("binder"));
}

TEST_CASE("tickets open only for their server, roots and time") {
  ResumptionIssuer issuer;
  const auto ticket = issuer.issue(secret_of(7), kTag, facts(), kNow);
  REQUIRE_FALSE(ticket.bytes.empty());
  CHECK(ticket.lifetime_s == kResumptionLifetimeS);
  const auto opened = issuer.open(ticket.bytes, kServer, {}, kNow + 599);
  REQUIRE(opened);
  CHECK(opened->client == kClient);
  CHECK(std::ranges::equal(opened->secret.view(), secret_of(7).view()));
  CHECK_FALSE(issuer.open(ticket.bytes, kServer, {}, kNow + 600));
  CHECK_FALSE(issuer.open(ticket.bytes, kClient, {}, kNow));
  RootsDigest other{};
  other[0] = 1;
  CHECK_FALSE(issuer.open(ticket.bytes, kServer, other, kNow));
  for (std::size_t i = 0; i < ticket.bytes.size(); ++i) {
    auto changed = ticket.bytes;
    changed[i] = static_cast<std::uint8_t>(changed[i] ^ 1U);
    CHECK_FALSE(issuer.open(changed, kServer, {}, kNow));
    CHECK_FALSE(issuer.open(ByteView(ticket.bytes).first(i), kServer, {}, kNow));
  }
  ResumptionIssuer stranger;
  CHECK_FALSE(stranger.open(ticket.bytes, kServer, {}, kNow));
}

TEST_CASE("a ticket never outlives a certificate, and none is made for one that is over") {
  ResumptionIssuer issuer;
  const auto ticket = issuer.issue(secret_of(7), kTag, facts(kNow + 30), kNow);
  CHECK(ticket.lifetime_s == 30);
  CHECK(issuer.open(ticket.bytes, kServer, {}, kNow + 29));
  CHECK_FALSE(issuer.open(ticket.bytes, kServer, {}, kNow + 30));
  CHECK(issuer.issue(secret_of(7), kTag, facts(kNow), kNow).bytes.empty());
}

TEST_CASE("the issuer's key turns, and what the key before made still opens") {
  ResumptionIssuer issuer;
  const auto old = issuer.issue(secret_of(1), kTag, facts(), kNow);
  const auto late = issuer.issue(secret_of(2), kTag, facts(), kNow + 590);
  const auto next = issuer.issue(secret_of(3), kTag, facts(), kNow + 610);
  CHECK_FALSE(issuer.open(old.bytes, kServer, {}, kNow + 620));
  CHECK(issuer.open(late.bytes, kServer, {}, kNow + 620));
  CHECK(issuer.open(next.bytes, kServer, {}, kNow + 620));
}

TEST_CASE("an identity that is too long for a ticket gets none") {
  ResumptionIssuer issuer;
  ResumptionFacts long_one = facts();
  long_one.client.trust_domain = std::string(255, 'a');
  long_one.client.namespace_name = std::string(253, 'b');
  long_one.client.service_account = std::string(253, 'c');
  long_one.server.namespace_name = std::string(253, 'd');
  CHECK(issuer.issue(secret_of(1), kTag, long_one, kNow).bytes.empty());
}

TEST_CASE("the store is bounded and gives nothing that is over") {
  ResumptionStore store;
  ResumptionIssuer issuer;
  const auto ticket = issuer.issue(secret_of(1), kTag, facts(), kNow);
  CHECK_FALSE(store.keep(ticket.bytes, 600, kNow));  // nobody waits for it
  store.expect(kTag, secret_of(1), facts());
  CHECK(store.keep(ticket.bytes, 600, kNow));
  CHECK_FALSE(store.keep(ticket.bytes, 600, kNow));
  CHECK(store.offer(kClient, {kServer}, {}, kNow + 599));
  CHECK_FALSE(store.offer(kServer, {kServer}, {}, kNow));
  CHECK_FALSE(store.offer(kClient, {kServer}, {}, kNow + 600));
  CHECK(store.tickets() == 0);

  store.expect(kTag, secret_of(1), facts());
  REQUIRE(store.keep(ticket.bytes, 10, kNow));
  CHECK_FALSE(store.offer(kClient, {kServer}, {}, kNow + 10));  // the server's word counts too

  store.expect(kTag, secret_of(1), facts());
  for (std::size_t i = 0; i < ResumptionStore::kPendingMax; ++i) {
    TicketTag tag{};
    std::memcpy(tag.data(), &i, sizeof(i));
    store.expect(tag, secret_of(2), facts());
  }
  CHECK_FALSE(store.keep(ticket.bytes, 600, kNow));  // pushed out

  store.expect(kTag, secret_of(1), facts());
  REQUIRE(store.keep(ticket.bytes, 600, kNow));
  store.forget(kClient);
  CHECK(store.tickets() == 0);
}

TEST_CASE("a server that bears an alias of the own trust domain is resumed under the name that is expected") {
  Ends ends;
  const TrustDomains aliases({"cluster.local", "old.example"});
  ends.trust_domains = &aliases;
  ends.server = ends.authority.credentials("spiffe://old.example/ns/shop/sa/stock");
  ends.introduce();
  const Handshaken again = ends.once();
  CHECK(again.client_outcome.is_resumed);
  CHECK(again.client_outcome.peer == ends.server->identity());
  CHECK(again.server_outcome.peer == kClient);
}
