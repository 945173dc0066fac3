// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "crl_maker.hpp"
#include "tls/certificate.hpp"
#include "tls/revocation.hpp"
#include "two_ends.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using Step = HandshakeSocket::Step;

namespace {

// Each of them looks at lists.
struct Ends : TwoEnds {
  explicit Ends(bool fails_closed = false) : at_client(fails_closed), at_server(fails_closed) {}

  Revocation at_client;
  Revocation at_server;

  [[nodiscard]] Handshaken once(bool resumes = false) {
    return meet(resumes, [this](ClientHandshakeOptions& client_side, ServerHandshakeOptions& server_side) {
      client_side.revocation = &at_client;
      server_side.revocation = &at_server;
    });
  }
  void introduce() { keep_ticket(once(true)); }
  [[nodiscard]] std::string crl(const CrlOptions& options) const {
    return make_crl(authority.root(), authority.key(), options);
  }
  [[nodiscard]] std::string crl_of(const Credentials& revoked) const {
    return crl({.revoked_pem = {revoked.chain_pem()}});
  }
};

void load(Revocation& revocation, const std::string& text) {
  auto loaded = revocation.load(text);
  if (!loaded) FAIL(loaded.error().message());
}

std::string error_of(Revocation& revocation, std::string_view text) {
  const auto loaded = revocation.load(text);
  return loaded ? "loaded" : loaded.error().message();
}

bool is_good(const Handshaken& both) { return both.client_step == Step::Done && both.server_step == Step::Done; }

}  // namespace

TEST_CASE("a server refuses a client whose certificate was revoked, and the client is told so") {
  Ends ends;
  load(ends.at_server, ends.crl_of(*ends.client));
  Handshaken both = ends.once();
  CHECK(both.server_step == Step::Failed);
  CHECK(both.server_failure == HandshakeFailure::PeerRevoked);
  CHECK(both.server_detail == "the certificate of " + std::string(kClientId) + " has been revoked");
  REQUIRE(both.client_step == Step::Done);  // before the server has judged it
  const Got got = receive_until(ends.client_end, both.client, [](const Got&) { return false; });
  CHECK(got.result.failure == IoFailure::PeerAlert);
  CHECK(both.client.peer_alert() == 44);  // certificate_revoked
}

TEST_CASE("a client refuses a server whose certificate was revoked") {
  Ends ends;
  load(ends.at_client, ends.crl_of(*ends.server));
  const Handshaken both = ends.once();
  CHECK(both.client_failure == HandshakeFailure::PeerRevoked);
  CHECK(both.server_failure == HandshakeFailure::PeerAlert);
}

TEST_CASE("others under the same issuer are not touched") {
  Ends ends;
  const auto somebody = ends.authority.credentials(kClientId);
  load(ends.at_server, ends.crl_of(*somebody));
  CHECK(is_good(ends.once()));
}

TEST_CASE("a chain that was verified lately is refused all the same once it is revoked") {
  Ends ends;
  REQUIRE(is_good(ends.once()));
  load(ends.at_server, ends.crl_of(*ends.client));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
  load(ends.at_server, ends.crl({}));
  CHECK(is_good(ends.once()));
}

TEST_CASE("a list counts beyond its time, and one that begins later counts now") {
  Ends ends;
  load(ends.at_server, ends.crl({.revoked_pem = {ends.client->chain_pem()}, .from_s = -7200, .until_s = -3600}));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
  load(ends.at_server, ends.crl({.revoked_pem = {ends.client->chain_pem()}, .from_s = 3600, .until_s = 7200}));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
}

TEST_CASE("without fail_closed what no list speaks of is accepted") {
  Ends ends;
  CHECK(is_good(ends.once()));
  const Authority other;
  load(ends.at_server, make_crl(other.root(), other.key(), {}));
  CHECK(is_good(ends.once()));
}

TEST_CASE("with fail_closed a peer needs a current and complete list of its issuer") {
  Ends ends(true);
  CHECK(ends.once().client_failure == HandshakeFailure::PeerUnknown);
  load(ends.at_client, ends.crl({}));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerUnknown);

  const auto server_says = [&ends](const std::string& list) {
    load(ends.at_server, list);
    return ends.once().server_failure;
  };
  CHECK(server_says(ends.crl({.from_s = -7200, .until_s = -3600})) == HandshakeFailure::PeerUnknown);
  CHECK(server_says(ends.crl({.from_s = 3600, .until_s = 7200})) == HandshakeFailure::PeerUnknown);
  CHECK(server_says(ends.crl({.extensions = {{NID_issuing_distribution_point, "critical,onlyuser:TRUE"}}})) ==
        HandshakeFailure::PeerUnknown);
  CHECK(server_says(ends.crl({})) == HandshakeFailure::None);
  CHECK(server_says(ends.crl_of(*ends.client)) == HandshakeFailure::PeerRevoked);
}

TEST_CASE("a list that another key has signed does not count, whatever name it bears") {
  Ends ends;
  const Authority impostor;  // its root has the same name
  load(ends.at_server, make_crl(impostor.root(), impostor.key(), {.revoked_pem = {ends.client->chain_pem()}}));
  CHECK(is_good(ends.once()));
  REQUIRE(ends.at_server.lists().size() == 1);
  CHECK_FALSE(ends.at_server.lists().front().is_vouched);
  // Both, as while a root is replaced by one of the same name.
  load(ends.at_server, make_crl(impostor.root(), impostor.key(), {}) + ends.crl_of(*ends.client));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
}

TEST_CASE("an intermediate that was revoked takes everything under it along") {
  const Authority authority;
  const Authority::Intermediate intermediate = authority.intermediate();
  End client_end;
  End server_end;
  Revocation revocation(false);
  ClientHandshakeOptions client_side = client_options(intermediate.credentials(kClientId, authority.root_pem()));
  ServerHandshakeOptions server_side = server_options(authority.credentials(kServerId));
  server_side.revocation = &revocation;
  const Handshaken before = handshake(client_end, client_side, server_end, server_side);
  REQUIRE(is_good(before));
  REQUIRE(before.server_outcome.peer_chain->certificates.size() == 2);
  CHECK_FALSE(revocation.is_revoked(*before.server_outcome.peer_chain));

  load(revocation, make_crl(authority.root(), authority.key(), {.revoked_pem = {intermediate.pem}}));
  CHECK(revocation.is_revoked(*before.server_outcome.peer_chain));
  const Handshaken after = handshake(client_end, client_side, server_end, server_side);
  CHECK(after.server_failure == HandshakeFailure::PeerRevoked);
  CHECK(after.server_detail ==
        "the certificate of an issuer of " + std::string(kClientId) + " (depth 1) has been revoked");
}

TEST_CASE("an issuer that may not sign lists takes nothing back") {
  const Authority authority;
  const Authority::Intermediate intermediate = authority.intermediate("critical,keyCertSign");
  End client_end;
  End server_end;
  Revocation revocation(false);
  const auto client = intermediate.credentials(kClientId, authority.root_pem());
  ServerHandshakeOptions server_side = server_options(authority.credentials(kServerId));
  server_side.revocation = &revocation;
  load(revocation,
       make_crl(intermediate.certificate.get(), intermediate.key.get(), {.revoked_pem = {client->chain_pem()}}));
  CHECK(is_good(handshake(client_end, client_options(client), server_end, server_side)));
  CHECK_FALSE(revocation.lists().front().is_vouched);
}

TEST_CASE("live connections are judged by new lists, without their certificates") {
  Ends ends;
  const Handshaken both = ends.once();
  REQUIRE(is_good(both));
  REQUIRE(both.server_outcome.peer_chain != nullptr);
  REQUIRE(both.client_outcome.peer_chain != nullptr);
  load(ends.at_server, ends.crl_of(*ends.client));
  load(ends.at_client, ends.crl_of(*ends.client));
  CHECK(ends.at_server.is_revoked(*both.server_outcome.peer_chain));
  CHECK_FALSE(ends.at_client.is_revoked(*both.client_outcome.peer_chain));
}

TEST_CASE("a ticket of a client that was revoked since is not taken") {
  Ends ends;
  ends.introduce();
  const Handshaken resumed = ends.once(true);
  REQUIRE(resumed.server_outcome.is_resumed);
  REQUIRE(resumed.server_outcome.peer_chain != nullptr);
  load(ends.at_server, ends.crl_of(*ends.client));
  CHECK(ends.at_server.is_revoked(*resumed.server_outcome.peer_chain));
  const Handshaken after = ends.once(true);
  CHECK(after.server_failure == HandshakeFailure::PeerRevoked);
}

TEST_CASE("a ticket of a server that was revoked since is not shown") {
  Ends ends;
  ends.introduce();
  const Handshaken resumed = ends.once(true);
  REQUIRE(resumed.client_outcome.is_resumed);
  REQUIRE(resumed.client_outcome.peer_chain != nullptr);
  load(ends.at_client, ends.crl_of(*ends.server));
  CHECK(ends.at_client.is_revoked(*resumed.client_outcome.peer_chain));
  CHECK(ends.once(true).client_failure == HandshakeFailure::PeerRevoked);
  CHECK(ends.store.tickets() == 0);
}

TEST_CASE("with fail_closed a ticket does not outlive the lists") {
  Ends ends(true);
  load(ends.at_client, ends.crl({}));
  load(ends.at_server, ends.crl({}));
  ends.introduce();
  REQUIRE(ends.once(true).server_outcome.is_resumed);
  load(ends.at_server, ends.crl({.from_s = -7200, .until_s = -3600}));
  CHECK(ends.once(true).server_failure == HandshakeFailure::PeerUnknown);
}

TEST_CASE("issuers that are told of vouch for lists before any peer has come") {
  const Authority authority;
  Revocation revocation(false);
  load(revocation, make_crl(authority.root(), authority.key(), {}));
  CHECK_FALSE(revocation.lists().front().is_vouched);
  REQUIRE(revocation.know_issuers(authority.root_pem()));
  CHECK(revocation.lists().front().is_vouched);
  CHECK(revocation.lists().front().issuer == "CN=test root");
}

TEST_CASE("what is no list, or one that is not understood, is refused and changes nothing") {
  Ends ends;
  const std::string good = ends.crl_of(*ends.client);
  load(ends.at_server, good);
  Revocation& revocation = ends.at_server;
  CHECK(error_of(revocation, "") == "it holds no revocation list: neither \"BEGIN X509 CRL\" nor one in DER");
  CHECK(error_of(revocation, "nothing of the kind").starts_with("it holds no revocation list"));
  CHECK(error_of(revocation, ends.authority.root_pem()).starts_with("it holds no revocation list"));
  CHECK(error_of(revocation, std::string(Revocation::kBytesMax + 1, ' ')).ends_with("16777216 at most are read"));
  CHECK(error_of(revocation, der_of(good) + "x").starts_with("it holds no revocation list"));
  CHECK(error_of(revocation, good.substr(0, 100) + "////" + good.substr(104)).find("damaged") != std::string::npos);
  CHECK(error_of(revocation, ends.crl({.extensions = {{NID_delta_crl, "critical,DER:020101"}}}))
            .ends_with("it is a delta list; only whole lists are understood"));
  CHECK(error_of(revocation, ends.crl({.extensions = {{NID_issuing_distribution_point, "critical,indirectCRL:TRUE"}}}))
            .ends_with("it is an indirect list; only lists of the issuer itself are understood"));
  CHECK(error_of(revocation, ends.crl({.extensions = {{NID_netscape_comment, "critical,hello"}}}))
            .find("critical extension") != std::string::npos);
  std::string many;
  for (std::size_t i = 0; i <= Revocation::kListsMax; ++i) many += good;
  CHECK(error_of(revocation, many) == "it holds more than 256 revocation lists");

  CHECK(revocation.lists().size() == 1);
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
}

TEST_CASE("lists in DER, and with other text around them, are read") {
  Ends ends;
  load(ends.at_server, der_of(ends.crl_of(*ends.client)));
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
  load(ends.at_server, "# of the root\n" + ends.authority.root_pem() + ends.crl_of(*ends.client) + "# end\n");
  CHECK(ends.once().server_failure == HandshakeFailure::PeerRevoked);
}

TEST_CASE("no half of a file of two lists is taken for the whole") {
  const Ends ends;
  const std::string first = ends.crl({});
  const std::string both = first + ends.crl_of(*ends.client);
  Revocation revocation(false);
  load(revocation, both);
  for (std::size_t size = 0; size < both.size(); ++size) {
    INFO(size << " bytes");
    const bool is_one_list =
        size + 1 >= first.size() && size <= first.size() + 10;  // before "-----BEGIN " of the second
    const bool is_whole = size + 1 == both.size();              // without the last line feed
    const bool is_loaded = revocation.load(std::string_view(both).substr(0, size)).has_value();
    REQUIRE(is_loaded == (is_one_list || is_whole));
  }
}
