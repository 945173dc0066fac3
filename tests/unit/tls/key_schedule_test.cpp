// SPDX-License-Identifier: Apache-2.0
// Against the example handshake of RFC 8448 section 3.
#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <vector>

#include "tls/aead.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"

using namespace culvert;
using namespace culvert::tls;

namespace {

std::vector<std::uint8_t> hex(std::string_view text) {
  std::vector<std::uint8_t> bytes;
  std::string digits;
  for (const char c : text) {
    if (c == ' ') continue;
    digits += c;
    if (digits.size() < 2) continue;
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(digits, nullptr, 16)));
    digits.clear();
  }
  return bytes;
}

bool equal(ByteView left, ByteView right) { return std::ranges::equal(left, right); }

const auto kClientSecret = hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
const auto kServerSecret = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");

}  // namespace

TEST_CASE("a traffic secret gives the record key and IV of RFC 8448") {
  TrafficKeys client;
  REQUIRE(install_secret(Cipher::Aes128Gcm, kClientSecret, client));
  CHECK(equal(client.key.view(), hex("17422dda596ed5d9acd890e3c63f5051")));
  CHECK(equal(client.iv.view(), hex("5b78923dee08579033e523d9")));
  CHECK(equal(client.secret.view(), kClientSecret));
  TrafficKeys server;
  REQUIRE(install_secret(Cipher::Aes128Gcm, kServerSecret, server));
  CHECK(equal(server.key.view(), hex("9f02283b6c9c07efc26bb9f2ac92e356")));
  CHECK(equal(server.iv.view(), hex("cf782b88dd83549aadf1e984")));
}

TEST_CASE("the first application record of RFC 8448 comes out byte for byte in every engine") {
  const auto expected =
      hex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 "
          "a5 b4 6b "
          "39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4");
  std::array<std::uint8_t, 50> data;
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i);
  for (const Engine engine : {Engine::UserEvp, Engine::UserIpsecMb}) {
    if (engine == Engine::UserIpsecMb && !has_ipsec_mb()) continue;
    TrafficKeys keys;
    REQUIRE(install_secret(Cipher::Aes128Gcm, kClientSecret, keys));
    const auto aead = make_aead(engine, Cipher::Aes128Gcm, keys.key.view());
    std::vector<std::uint8_t> record(sealed_bytes(data.size()));
    REQUIRE(seal_records(*aead, keys, 23, data, record.data()));
    CHECK(equal(record, expected));
    CHECK(keys.sequence == 1);
  }
}

TEST_CASE("the next generation of a secret starts again at sequence number zero with other keys") {
  for (const Cipher cipher : {Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305}) {
    std::vector<std::uint8_t> secret(hash_bytes(cipher), 0x42);
    TrafficKeys keys;
    REQUIRE(install_secret(cipher, secret, keys));
    CHECK(keys.key.size() == key_bytes(cipher));
    const std::vector<std::uint8_t> first(keys.key.view().begin(), keys.key.view().end());
    keys.sequence = 77;
    REQUIRE(next_generation(cipher, keys));
    CHECK(keys.sequence == 0);
    CHECK_FALSE(equal(keys.key.view(), first));
    std::vector<std::uint8_t> expected(hash_bytes(cipher));
    REQUIRE(hkdf_expand_label(cipher, secret, "traffic upd", {}, expected));
    CHECK(equal(keys.secret.view(), expected));
  }
}

TEST_CASE("a secret of the wrong length is refused") {
  TrafficKeys keys;
  CHECK_FALSE(install_secret(Cipher::Aes256Gcm, kClientSecret, keys));
  CHECK(keys.key.empty());
}

TEST_CASE("HKDF-Expand-Label gives more than one block of output") {
  // Several HMAC blocks: what RFC 5869 calls T(1) | T(2) | T(3); each output's beginning differs by the length in the label.
  std::vector<std::uint8_t> out(80);
  REQUIRE(hkdf_expand_label(Cipher::Aes128Gcm, kClientSecret, "key", {}, out));
  CHECK_FALSE(equal(ByteView(out).first(32), ByteView(out).subspan(32, 32)));
}
