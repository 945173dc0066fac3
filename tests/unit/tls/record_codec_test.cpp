// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "support.hpp"
#include "tls/aead.hpp"
#include "tls/aead_cache.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"

using namespace culvert;
using namespace culvert::tls;
using culvert::tls::test::pattern;

namespace {

constexpr Cipher kCiphers[] = {Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305};
constexpr Engine kEngines[] = {Engine::UserEvp, Engine::UserIpsecMb};

TrafficKeys keys_of(Cipher cipher, std::uint8_t seed = 1) {
  const std::vector<std::uint8_t> secret(hash_bytes(cipher), seed);
  TrafficKeys keys;
  REQUIRE(install_secret(cipher, secret, keys));
  return keys;
}

std::vector<std::uint8_t> seal(Engine engine, Cipher cipher, TrafficKeys& keys, std::uint8_t type,
                               std::string_view data) {
  std::vector<std::uint8_t> out(sealed_bytes(data.size()));
  const auto aead = make_aead(engine, cipher, keys.key.view());
  REQUIRE(seal_records(*aead, keys, type, as_bytes(data), out.data()));
  return out;
}

// One record with `inner` (content, type and padding as given) sealed as it is.
std::vector<std::uint8_t> seal_inner(Cipher cipher, const TrafficKeys& keys, std::string_view inner) {
  std::vector<std::uint8_t> out(5 + inner.size() + kTagBytes);
  const std::size_t payload = inner.size() + kTagBytes;
  out[0] = 23;
  out[1] = 3;
  out[2] = 3;
  out[3] = static_cast<std::uint8_t>(payload >> 8U);
  out[4] = static_cast<std::uint8_t>(payload);
  const auto aead = make_evp_aead(cipher, keys.key.view());
  std::array<std::uint8_t, 12> nonce;
  std::ranges::copy(keys.iv.view(), nonce.begin());
  for (unsigned i = 0; i < 8; ++i)
    nonce[11 - i] = static_cast<std::uint8_t>(nonce[11 - i] ^ (keys.sequence >> (8 * i)));
  const auto bytes = as_bytes(inner);
  REQUIRE(aead->seal(nonce.data(), out.data(), bytes.first(bytes.size() - 1), bytes.back(), out.data() + 5));
  return out;
}

OpenedRecord open(Cipher cipher, TrafficKeys& keys, ByteView input, std::string& content) {
  const auto aead = make_evp_aead(cipher, keys.key.view());
  std::vector<std::uint8_t> out(input.size() + 1);
  const OpenedRecord record = open_record(*aead, keys, input, out.data());
  content.assign(reinterpret_cast<const char*>(out.data()), record.content_bytes);
  return record;
}

}  // namespace

TEST_CASE("what one engine seals the other opens, for every cipher and size") {
  for (const Cipher cipher : kCiphers) {
    for (const Engine sealer : kEngines) {
      for (const Engine opener : kEngines) {
        TrafficKeys sending = keys_of(cipher);
        TrafficKeys receiving = keys_of(cipher);
        const auto aead = make_aead(opener, cipher, receiving.key.view());
        for (const std::size_t size :
             {0U, 1U, 15U, 16U, 17U, 64U, 255U, 1400U, 1535U, 1536U, 1537U, 2048U, 16383U, 16384U}) {
          const std::string data = pattern(size, static_cast<std::uint32_t>(size) + 1);
          const auto sealed = seal(sealer, cipher, sending, 23, data);
          std::vector<std::uint8_t> out(sealed.size());
          const OpenedRecord record = open_record(*aead, receiving, sealed, out.data());
          CAPTURE(to_string(cipher), to_string(sealer), to_string(opener), size);
          REQUIRE(record.status == OpenStatus::Record);
          CHECK(record.type == 23);
          CHECK(record.consumed_bytes == sealed.size());
          CHECK((as_text({out.data(), record.content_bytes}) == data));
        }
        CHECK(sending.sequence == receiving.sequence);
      }
    }
  }
}

TEST_CASE("a run longer than 16 KiB becomes full records and one rest") {
  TrafficKeys sending = keys_of(Cipher::Aes128Gcm);
  TrafficKeys receiving = keys_of(Cipher::Aes128Gcm);
  const std::string data = pattern(256 * 1024 + 5);
  const auto sealed = seal(Engine::UserEvp, Cipher::Aes128Gcm, sending, 23, data);
  CHECK(sealed.size() == data.size() + 17 * kRecordOverheadBytes);
  CHECK(sending.sequence == 17);
  CHECK(record_count(data.size()) == 17);
  ByteView rest = sealed;
  std::string all;
  std::string content;
  while (!rest.empty()) {
    const OpenedRecord record = open(Cipher::Aes128Gcm, receiving, rest, content);
    REQUIRE(record.status == OpenStatus::Record);
    all += content;
    rest = rest.subspan(record.consumed_bytes);
  }
  CHECK((all == data));
}

TEST_CASE("a record that is not there yet is incomplete, byte for byte") {
  TrafficKeys sending = keys_of(Cipher::Aes128Gcm);
  TrafficKeys receiving = keys_of(Cipher::Aes128Gcm);
  const auto sealed = seal(Engine::UserEvp, Cipher::Aes128Gcm, sending, 0xc4, "a control message");
  std::string content;
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    CHECK(open(Cipher::Aes128Gcm, receiving, ByteView(sealed).first(size), content).status == OpenStatus::Incomplete);
  }
  CHECK(receiving.sequence == 0);
  const OpenedRecord record = open(Cipher::Aes128Gcm, receiving, sealed, content);
  CHECK(record.status == OpenStatus::Record);
  CHECK(record.type == 0xc4);
  CHECK(content == "a control message");
}

TEST_CASE("padding is taken off, and a record of padding only has no type") {
  TrafficKeys keys = keys_of(Cipher::Aes128Gcm);
  std::string content;
  using namespace std::string_literals;
  const auto padded = seal_inner(Cipher::Aes128Gcm, keys, "text\x17"s + std::string(1000, '\0'));
  const OpenedRecord record = open(Cipher::Aes128Gcm, keys, padded, content);
  CHECK(record.status == OpenStatus::Record);
  CHECK(record.type == 23);
  CHECK(content == "text");

  TrafficKeys again = keys_of(Cipher::Aes128Gcm);
  const auto full = seal_inner(Cipher::Aes128Gcm, again, "\x17"s + std::string(16384, '\0'));
  const OpenedRecord empty = open(Cipher::Aes128Gcm, again, full, content);
  CHECK(empty.status == OpenStatus::Record);
  CHECK(empty.content_bytes == 0);

  TrafficKeys third = keys_of(Cipher::Aes128Gcm);
  const auto nothing = seal_inner(Cipher::Aes128Gcm, third, std::string(20, '\0'));
  CHECK(open(Cipher::Aes128Gcm, third, nothing, content).status == OpenStatus::NoType);
}

TEST_CASE("bad lengths and unprotected records are refused by the header alone") {
  TrafficKeys keys = keys_of(Cipher::Aes128Gcm);
  std::string content;
  const auto status = [&](std::initializer_list<std::uint8_t> bytes) {
    const std::vector<std::uint8_t> input(bytes);
    return open(Cipher::Aes128Gcm, keys, input, content).status;
  };
  CHECK(status({23, 3, 3, 0x40, 0x12}) == OpenStatus::TooLong);     // 16402
  CHECK(status({23, 3, 3, 0x40, 0x11}) == OpenStatus::Incomplete);  // 16401
  CHECK(status({23, 3, 3, 0xff, 0xff}) == OpenStatus::TooLong);
  CHECK(status({23, 3, 3, 0, 16}) == OpenStatus::TooShort);
  CHECK(status({23, 3, 3, 0, 0}) == OpenStatus::TooShort);
  CHECK(status({20, 3, 3, 0, 1, 1}) == OpenStatus::NotSealed);  // change_cipher_spec has no place after the handshake
  CHECK(status({21}) == OpenStatus::NotSealed);
  CHECK(status({'G', 'E', 'T'}) == OpenStatus::NotSealed);
  CHECK(keys.sequence == 0);
}

TEST_CASE("a changed bit anywhere in a record is found") {
  for (const Engine engine : kEngines) {
    for (const Cipher cipher : kCiphers) {
      TrafficKeys sending = keys_of(cipher);
      const auto sealed = seal(engine, cipher, sending, 23, "integrity");
      for (std::size_t i = 1; i < sealed.size(); ++i) {
        if (i == 3 || i == 4) continue;  // the length: another record altogether
        auto changed = sealed;
        changed[i] = static_cast<std::uint8_t>(changed[i] ^ 0x10U);
        TrafficKeys receiving = keys_of(cipher);
        const auto aead = make_aead(engine, cipher, receiving.key.view());
        std::vector<std::uint8_t> out(changed.size());
        CHECK(open_record(*aead, receiving, changed, out.data()).status == OpenStatus::BadMac);
      }
    }
  }
}

TEST_CASE("records out of order, repeated or under another key are refused") {
  TrafficKeys sending = keys_of(Cipher::Aes128Gcm);
  const auto first = seal(Engine::UserEvp, Cipher::Aes128Gcm, sending, 23, "one");
  const auto second = seal(Engine::UserEvp, Cipher::Aes128Gcm, sending, 23, "two");
  std::string content;
  TrafficKeys receiving = keys_of(Cipher::Aes128Gcm);
  CHECK(open(Cipher::Aes128Gcm, receiving, second, content).status == OpenStatus::BadMac);
  CHECK(open(Cipher::Aes128Gcm, receiving, first, content).status == OpenStatus::Record);
  CHECK(open(Cipher::Aes128Gcm, receiving, first, content).status == OpenStatus::BadMac);
  CHECK(open(Cipher::Aes128Gcm, receiving, second, content).status == OpenStatus::Record);
  TrafficKeys other = keys_of(Cipher::Aes128Gcm, 9);
  CHECK(open(Cipher::Aes128Gcm, other, first, content).status == OpenStatus::BadMac);
}

TEST_CASE("all eight bytes of the sequence number are in the nonce") {
  for (unsigned bit = 0; bit < 64; ++bit) {
    TrafficKeys sending = keys_of(Cipher::Aes128Gcm);
    sending.sequence = std::uint64_t{1} << bit;
    const auto sealed = seal(Engine::UserEvp, Cipher::Aes128Gcm, sending, 23, "x");
    std::string content;
    TrafficKeys zero = keys_of(Cipher::Aes128Gcm);
    CHECK(open(Cipher::Aes128Gcm, zero, sealed, content).status == OpenStatus::BadMac);
    TrafficKeys right = keys_of(Cipher::Aes128Gcm);
    right.sequence = std::uint64_t{1} << bit;
    CHECK(open(Cipher::Aes128Gcm, right, sealed, content).status == OpenStatus::Record);
  }
}

TEST_CASE("the cache of expanded keys finds a key again, gives up the oldest, and forgets what is dropped") {
  AeadCache cache;
  std::array<std::uint8_t, 16> key{};
  const Aead* first = cache.get(7, Engine::UserEvp, Cipher::Aes128Gcm, key);
  REQUIRE(first != nullptr);
  CHECK(cache.get(7, Engine::UserEvp, Cipher::Aes128Gcm, key) == first);
  CHECK(cache.expansions() == 1);
  for (std::uint8_t i = 1; i <= AeadCache::kWays; ++i) {
    key[0] = i;
    REQUIRE(cache.get(7, Engine::UserEvp, Cipher::Aes128Gcm, key) != nullptr);
  }
  CHECK(cache.expansions() == 1 + AeadCache::kWays);
  key[0] = 0;
  REQUIRE(cache.get(7, Engine::UserEvp, Cipher::Aes128Gcm, key) != nullptr);
  CHECK(cache.expansions() == 2 + AeadCache::kWays);
  cache.drop(7, key);
  REQUIRE(cache.get(7, Engine::UserEvp, Cipher::Aes128Gcm, key) != nullptr);
  CHECK(cache.expansions() == 3 + AeadCache::kWays);
}

TEST_CASE("the cache never takes one key for another of the same place") {
  AeadCache cache;
  for (const Engine engine : kEngines) {
    for (const Cipher cipher : kCiphers) {
      for (std::uint8_t seed = 1; seed < 20; ++seed) {
        TrafficKeys sending = keys_of(cipher, seed);
        TrafficKeys receiving = keys_of(cipher, seed);
        std::vector<std::uint8_t> sealed(sealed_bytes(3));
        Aead* aead = cache.get(3, engine, cipher, sending.key.view());
        REQUIRE(aead != nullptr);
        REQUIRE(seal_records(*aead, sending, 23, as_bytes("abc"), sealed.data()));
        std::string content;
        CHECK(open(cipher, receiving, sealed, content).status == OpenStatus::Record);
      }
    }
  }
}
