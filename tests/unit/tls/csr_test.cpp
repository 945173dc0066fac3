// SPDX-License-Identifier: Apache-2.0
// The request that a CA gets, and what is refused of what it answers.
#include "tls/csr.hpp"

#include <catch2/catch.hpp>

#include <openssl/pem.h>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/certificate.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;

namespace {

const SpiffeId kCart = SpiffeId::parse(kClientId).value();

std::int64_t now_s() { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

std::shared_ptr<X509_REQ> parse(const std::string& pem) {
  const BioPtr bio(::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return {::PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr), ::X509_REQ_free};
}

// An authority of two levels that signs requests.
struct Ca {
  struct Signer {
    KeyPtr key;
    CertificatePtr certificate;
    [[nodiscard]] std::string pem() const { return *to_pem(certificate.get()); }
  };
  Signer root = make("test root", nullptr);
  Signer middle = make("test intermediate", &root);

  static Signer make(const std::string& name, const Signer* by, std::int64_t until_s = 86'400) {
    Signer made;
    made.key = std::move(*make_p256_key());
    CertificateTemplate wanted;
    wanted.common_name = name;
    wanted.not_before_s = now_s() - 7'200;
    wanted.not_after_s = now_s() + until_s;
    wanted.extensions = {{NID_basic_constraints, "critical,CA:TRUE"}, {NID_key_usage, "critical,keyCertSign,cRLSign"}};
    made.certificate = std::move(*make_certificate(wanted, made.key.get(), by ? by->certificate.get() : nullptr,
                                                   by ? by->key.get() : made.key.get()));
    return made;
  }
  // What differs from a good answer.
  struct Odd {
    std::string name = "URI:" + std::string(kClientId);
    std::int64_t from_s = -120;
    std::int64_t until_s = 3'600;
    std::string extended_usage = "serverAuth,clientAuth";
    bool has_own_key = false;
  };
  static std::string leaf(const CertificateRequest& request, const Signer& by, const Odd& odd) {
    const auto parsed = parse(request.pem());
    const KeyPtr other = std::move(*make_p256_key());
    CertificateTemplate wanted;
    wanted.not_before_s = now_s() + odd.from_s;
    wanted.not_after_s = now_s() + odd.until_s;
    wanted.extensions = {{NID_key_usage, "critical,digitalSignature"},
                         {NID_ext_key_usage, odd.extended_usage},
                         {NID_subject_alt_name, "critical," + odd.name}};
    EVP_PKEY* key = odd.has_own_key ? other.get() : ::X509_REQ_get0_pubkey(parsed.get());
    return *to_pem(make_certificate(wanted, key, by.certificate.get(), by.key.get())->get());
  }
};

std::string refusal(const CertificateRequest& request, const std::vector<std::string>& chain) {
  const auto made = request.complete(chain, now_s());
  REQUIRE_FALSE(made);
  return made.error().message();
}

}  // namespace

TEST_CASE("a signing request has an empty subject, one critical URI name, and is signed by its own P-256 key") {
  const auto request = CertificateRequest::make(kCart);
  REQUIRE(request);
  CHECK(request->pem().starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
  const auto parsed = parse(request->pem());
  REQUIRE(parsed);
  CHECK(::X509_NAME_entry_count(::X509_REQ_get_subject_name(parsed.get())) == 0);
  EVP_PKEY* key = ::X509_REQ_get0_pubkey(parsed.get());
  CHECK(::X509_REQ_verify(parsed.get(), key) == 1);
  CHECK(::X509_REQ_get_signature_nid(parsed.get()) == NID_ecdsa_with_SHA256);
  STACK_OF(X509_EXTENSION)* extensions = ::X509_REQ_get_extensions(parsed.get());
  REQUIRE(sk_X509_EXTENSION_num(extensions) == 1);
  X509_EXTENSION* name = sk_X509_EXTENSION_value(extensions, 0);
  CHECK(::OBJ_obj2nid(::X509_EXTENSION_get_object(name)) == NID_subject_alt_name);
  CHECK(::X509_EXTENSION_get_critical(name) == 1);
  const BioPtr text(::BIO_new(::BIO_s_mem()));
  REQUIRE(::X509V3_EXT_print(text.get(), name, 0, 0) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  CHECK(std::string(data, static_cast<std::size_t>(size)) == "URI:" + std::string(kClientId));
  sk_X509_EXTENSION_pop_free(extensions, ::X509_EXTENSION_free);
}

TEST_CASE("two requests have two keys") {
  CHECK(CertificateRequest::make(kCart)->pem() != CertificateRequest::make(kCart)->pem());
}

TEST_CASE("leaf, intermediates and several roots become credentials") {
  const Ca ca;
  const Ca second;
  const auto request = CertificateRequest::make(kCart);
  const std::string leaf = Ca::leaf(*request, ca.middle, {});
  const std::vector<std::string> chain = {leaf, ca.middle.pem(), ca.root.pem() + second.root.pem()};
  const auto made = request->complete(chain, now_s());
  REQUIRE(made);
  CHECK((*made)->identity() == kCart);
  CHECK((*made)->chain_pem() == leaf + ca.middle.pem());
  CHECK((*made)->roots_pem() == ca.root.pem() + second.root.pem());
}

TEST_CASE("a root that stands in the chain as well is not sent to peers") {
  const Ca ca;
  const auto request = CertificateRequest::make(kCart);
  const std::string leaf = Ca::leaf(*request, ca.root, {});
  const auto made = request->complete(std::vector{leaf, ca.root.pem(), ca.root.pem()}, now_s());
  REQUIRE(made);
  CHECK((*made)->chain_pem() == leaf);
}

TEST_CASE("an answer that is not what was asked for is refused with the reason") {
  const Ca ca;
  const Ca stranger;
  const auto request = CertificateRequest::make(kCart);
  const std::string good = Ca::leaf(*request, ca.middle, {});
  const std::string root = ca.root.pem();
  const auto odd = [&](const Ca::Odd& one) {
    return refusal(*request, {Ca::leaf(*request, ca.middle, one), ca.middle.pem(), root});
  };
  CHECK_THAT(refusal(*request, {}), Catch::Contains("0 entries"));
  CHECK_THAT(refusal(*request, {good}), Catch::Contains("1 entries"));
  CHECK_THAT(refusal(*request, std::vector<std::string>(17, root)), Catch::Contains("17 entries"));
  CHECK_THAT(refusal(*request, {"nonsense", root}), Catch::Contains("CA's certificate chain"));
  CHECK_THAT(refusal(*request, {good, ca.middle.pem(), "nonsense"}), Catch::Contains("list of trust roots"));
  CHECK_THAT(odd({.name = "URI:spiffe://cluster.local/ns/shop/sa/pay"}),
             Catch::Contains("sa/pay") && Catch::Contains("asked for was " + std::string(kClientId)));
  CHECK_THAT(odd({.name = "URI:spiffe://other.local/ns/shop/sa/cart"}), Catch::Contains("other.local"));
  CHECK_THAT(odd({.name = "DNS:cart.shop"}), Catch::Contains("SPIFFE ID is required"));
  CHECK_THAT(odd({.has_own_key = true}), Catch::Contains("another key"));
  CHECK_THAT(odd({.from_s = -7'000, .until_s = -10}), Catch::Contains("expired") && Catch::Contains("clock"));
  CHECK_THAT(odd({.from_s = 600}), Catch::Contains("not valid yet") && Catch::Contains("clock"));
  CHECK_THAT(odd({.extended_usage = "clientAuth"}), Catch::Contains("serverAuth"));
  CHECK_THAT(refusal(*request, {good, root}), Catch::Contains("does not lead to the roots"));
  CHECK_THAT(refusal(*request, {good, ca.middle.pem(), stranger.root.pem()}), Catch::Contains("does not lead"));
  CHECK_THAT(refusal(*request, {good, root + ca.middle.pem(), stranger.root.pem()}), Catch::Contains("out of order"));
  const Ca::Signer old = Ca::make("test intermediate", &ca.root, -10);
  CHECK_THAT(refusal(*request, {Ca::leaf(*request, old, {}), old.pem(), root}),
             Catch::Contains("its issuer, number 1") && Catch::Contains("expired"));
}
