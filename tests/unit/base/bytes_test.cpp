// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.hpp"

#include <array>
#include <vector>

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

TEST_CASE("numbers are big-endian, both ways") {
  std::array<std::uint8_t, 15> buffer;
  ByteWriter writer(buffer);
  writer.u8(0x01);
  writer.u16(0x0203);
  writer.u32(0x0405'0607U);
  writer.u64(0x0809'0a0b'0c0d'0e0fU);
  REQUIRE(writer.ok());
  CHECK(writer.size() == 15);
  for (std::size_t i = 0; i < buffer.size(); ++i) CHECK(buffer[i] == i + 1);
  ByteReader reader(writer.written());
  CHECK(reader.u8() == 0x01);
  CHECK(reader.u16() == 0x0203);
  CHECK(reader.u32() == 0x0405'0607U);
  CHECK(reader.u64() == 0x0809'0a0b'0c0d'0e0fU);
  CHECK(reader.ok());
  CHECK(reader.remaining() == 0);
}

TEST_CASE("a read past the end gives nothing, now and ever after") {
  const std::uint8_t data[] = {1, 2, 3};
  ByteReader reader(data);
  CHECK(reader.u32() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.u8() == 0);  // although bytes are left
  CHECK(reader.take(0).empty());
  CHECK_FALSE(reader.ok());
}

TEST_CASE("taking exactly what is left is fine") {
  const std::uint8_t data[] = {1, 2, 3};
  ByteReader reader(data);
  CHECK(reader.take(3).size() == 3);
  CHECK(reader.take(0).empty());
  CHECK(reader.ok());
  CHECK(reader.take(1).empty());
  CHECK_FALSE(reader.ok());
}

TEST_CASE("a write past the end writes nothing, now and ever after") {
  std::vector<std::uint8_t> buffer(3, 0xee);
  ByteWriter writer(buffer);
  writer.u32(1);
  CHECK_FALSE(writer.ok());
  writer.u8(1);
  CHECK(writer.size() == 0);
  CHECK(buffer == std::vector<std::uint8_t>(3, 0xee));
}

TEST_CASE("text and bytes are views of each other") {
  CHECK(as_text(as_bytes("abc")) == "abc");
  CHECK(as_bytes("").empty());
}
