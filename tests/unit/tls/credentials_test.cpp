// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <openssl/pem.h>

#include "support.hpp"
#include "tls/certificate.hpp"
#include "tls/certificate_list.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;

TEST_CASE("credentials tell whose they are and until when") {
  Authority authority;
  const auto credentials = authority.credentials(kClientId);
  CHECK(credentials->identity().to_string() == kClientId);
  CHECK(credentials->info().not_after_s - credentials->info().not_before_s == 3660);
  CHECK_FALSE(credentials->info().serial_decimal.empty());
  CHECK(credentials->chain_pem().starts_with("-----BEGIN CERTIFICATE-----"));
  CHECK(credentials->roots_pem() == authority.root_pem());
}

TEST_CASE("certificates of a text are listed one by one, roots too") {
  Authority authority;
  const auto credentials = authority.credentials(kClientId);
  const auto leaf = list_certificates(credentials->chain_pem()).value();
  REQUIRE_FALSE(leaf.empty());
  CHECK(leaf[0].serial_decimal == credentials->info().serial_decimal);
  CHECK(leaf[0].not_before == utc_text(credentials->info().not_before_s));
  CHECK(leaf[0].not_after == utc_text(credentials->info().not_after_s));
  CHECK(leaf[0].pem.starts_with("-----BEGIN CERTIFICATE-----"));
  const auto two = list_certificates("a comment\n" + authority.root_pem() + leaf[0].pem).value();
  REQUIRE(two.size() == 2);
  CHECK(two[1].pem == leaf[0].pem);
  CHECK_FALSE(list_certificates("nonsense"));
}

TEST_CASE("credentials that do not fit together are refused with the reason") {
  Authority authority;
  const Issued one = authority.issue({});
  const Issued two = authority.issue({});
  const auto refusal = [](const std::string& chain, const std::string& key, const std::string& roots) {
    const auto made = Credentials::from_pem(chain, key, roots);
    REQUIRE_FALSE(made);
    return made.error().message();
  };
  CHECK_THAT(refusal(one.chain_pem, two.key_pem, authority.root_pem()), Catch::Contains("does not belong"));
  CHECK_THAT(refusal("", one.key_pem, authority.root_pem()),
             Catch::Contains("certificate chain holds no PEM certificate"));
  CHECK_THAT(refusal(one.chain_pem, "", authority.root_pem()), Catch::Contains("private key"));
  CHECK_THAT(refusal(one.chain_pem, one.key_pem, "nonsense"), Catch::Contains("trust roots"));
  CHECK_THAT(refusal(one.chain_pem.substr(0, one.chain_pem.size() / 2), one.key_pem, authority.root_pem()),
             Catch::Contains("certificate chain"));
  LeafOptions nameless;
  nameless.alternative_names = "";
  const Issued three = authority.issue(nameless);
  CHECK_THAT(refusal(three.chain_pem, three.key_pem, authority.root_pem()), Catch::Contains("SPIFFE ID is required"));
}

TEST_CASE("a key of another kind is refused by name") {
  Authority authority;
  const KeyPtr key(EVP_EC_gen("P-384"));
  BIO* bio = ::BIO_new(::BIO_s_mem());
  REQUIRE(::PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  const std::string pem(data, static_cast<std::size_t>(size));
  ::BIO_free(bio);
  const auto made = Credentials::from_pem(authority.issue({}).chain_pem, pem, authority.root_pem());
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().message(), Catch::Contains("P-256") && Catch::Contains("secp384r1"));
}
