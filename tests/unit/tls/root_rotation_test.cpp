// SPDX-License-Identifier: Apache-2.0
// A mesh's root is replaced: both roots for a while, then the new one alone. Live connections go on through all of it.
#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/resumption.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using Step = HandshakeSocket::Step;

namespace {

struct Mesh {
  Authority before;
  Authority after;
  std::string both_pem = before.root_pem() + after.root_pem();
  End client_end;
  End server_end;

  static std::shared_ptr<const Credentials> credentials(const Authority& issuer, std::string_view identity,
                                                        const std::string& roots_pem) {
    LeafOptions options;
    options.alternative_names = "URI:" + std::string(identity);
    options.authority_key_identifier = "keyid";  // both roots have the same name, as those of istiod have
    const Issued issued = issuer.issue(options);
    auto made = Credentials::from_pem(issued.chain_pem, issued.key_pem, roots_pem);
    if (!made) FAIL(made.error().message());
    return *made;
  }
  Handshaken meet(const std::shared_ptr<const Credentials>& client, const std::shared_ptr<const Credentials>& server,
                  ResumptionStore* store = nullptr, ResumptionIssuer* issuer = nullptr) {
    ClientHandshakeOptions near = client_options(client);
    ServerHandshakeOptions far = server_options(server);
    near.resumption = store;
    far.resumption = issuer;
    return handshake(client_end, near, server_end, far);
  }
  // Both directions still carry what is sent.
  void check_alive(Handshaken& live) {
    CHECK(transfer(client_end, live.client, server_end, live.server, "there") == "there");
    CHECK(transfer(server_end, live.server, client_end, live.client, "and back") == "and back");
  }
};

bool is_good(const Handshaken& both) { return both.client_step == Step::Done && both.server_step == Step::Done; }

}  // namespace

TEST_CASE("while a root is replaced old and new certificates meet, and live connections go on") {
  Mesh mesh;
  const auto old_client = Mesh::credentials(mesh.before, kClientId, mesh.before.root_pem());
  const auto old_server = Mesh::credentials(mesh.before, kServerId, mesh.before.root_pem());
  Handshaken live = mesh.meet(old_client, old_server);
  REQUIRE(is_good(live));

  // First both roots everywhere, certificates still of the old one.
  const auto client = Mesh::credentials(mesh.before, kClientId, mesh.both_pem);
  const auto server = Mesh::credentials(mesh.before, kServerId, mesh.both_pem);
  CHECK(is_good(mesh.meet(client, server)));
  CHECK(is_good(mesh.meet(old_client, server)));
  CHECK(is_good(mesh.meet(client, old_server)));
  mesh.check_alive(live);

  // Then certificates of the new one, at one end after the other.
  const auto new_client = Mesh::credentials(mesh.after, kClientId, mesh.both_pem);
  const auto new_server = Mesh::credentials(mesh.after, kServerId, mesh.both_pem);
  CHECK(is_good(mesh.meet(new_client, server)));
  CHECK(is_good(mesh.meet(client, new_server)));
  Handshaken later = mesh.meet(new_client, new_server);
  CHECK(is_good(later));
  CHECK(mesh.meet(old_client, new_server).client_failure == HandshakeFailure::PeerCertificate);
  mesh.check_alive(live);

  // At last the new root alone: what the old one signed is refused, and what lives lives.
  const auto last_client = Mesh::credentials(mesh.after, kClientId, mesh.after.root_pem());
  const auto last_server = Mesh::credentials(mesh.after, kServerId, mesh.after.root_pem());
  CHECK(is_good(mesh.meet(last_client, last_server)));
  CHECK(is_good(mesh.meet(last_client, new_server)));
  CHECK(mesh.meet(last_client, server).client_failure == HandshakeFailure::PeerCertificate);
  CHECK(mesh.meet(client, last_server).server_failure == HandshakeFailure::PeerCertificate);
  mesh.check_alive(live);
  mesh.check_alive(later);
}

TEST_CASE("a session from before other roots is not resumed, and the next one is") {
  Mesh mesh;
  ResumptionStore store;
  ResumptionIssuer issuer;
  const auto introduce = [&](const Handshaken& both) {
    REQUIRE(is_good(both));
    REQUIRE(store.keep(both.server_outcome.ticket, both.server_outcome.ticket_lifetime_s,
                       static_cast<std::int64_t>(wall_us() / 1'000'000)));
  };
  const auto old_client = Mesh::credentials(mesh.before, kClientId, mesh.before.root_pem());
  const auto old_server = Mesh::credentials(mesh.before, kServerId, mesh.before.root_pem());
  introduce(mesh.meet(old_client, old_server, &store, &issuer));
  REQUIRE(mesh.meet(old_client, old_server, &store, &issuer).client_outcome.is_resumed);

  const auto client = Mesh::credentials(mesh.before, kClientId, mesh.both_pem);
  const auto server = Mesh::credentials(mesh.before, kServerId, mesh.both_pem);
  const Handshaken full = mesh.meet(client, server, &store, &issuer);
  CHECK_FALSE(full.client_outcome.is_resumed);
  introduce(full);
  CHECK(mesh.meet(client, server, &store, &issuer).client_outcome.is_resumed);
}
