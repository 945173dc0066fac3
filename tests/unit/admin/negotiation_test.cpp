// SPDX-License-Identifier: Apache-2.0
// Which format and which coding a client is answered in.
#include <optional>
#include <string>

#include <catch2/catch.hpp>

#include <zlib.h>

#include "admin/compressor.hpp"
#include "admin/negotiation.hpp"

namespace culvert::admin {
namespace {

std::string coding(std::string_view accept_encoding) {
  const std::optional<ContentCoding> chosen = content_coding(accept_encoding);
  return chosen ? std::string(to_string(*chosen)) : "none";
}

// By zlib, which finds out the wrapper itself.
std::string inflated(const std::string& body) {
  z_stream state{};
  REQUIRE(::inflateInit2(&state, 15 + 32) == Z_OK);
  std::string out(8U << 20U, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  state.avail_in = static_cast<uInt>(body.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  CHECK(::inflate(&state, Z_FINISH) == Z_STREAM_END);
  CHECK(state.avail_in == 0);
  out.resize(state.total_out);
  ::inflateEnd(&state);
  return out;
}

}  // namespace

TEST_CASE("OpenMetrics is for those who accept it") {
  struct Case {
    std::string_view accept;
    bool is_openmetrics;
  };
  const Case cases[] = {
      {"", false},
      {"*/*", false},
      {"text/plain", false},
      {"application/openmetrics-text", true},
      {"Application/OpenMetrics-Text; version=1.0.0", true},
      {"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
       "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
       true},
      {"text/plain , application/openmetrics-text ; q=0.1", true},
      {"application/openmetrics-text;q=0", false},
      {"application/openmetrics-text;q=0.000, text/plain", false},
      {"application/openmetrics-texts", false},
      {",;,;q=", false},
  };
  for (const Case& one : cases) {
    CAPTURE(one.accept);
    CHECK((exposition_format(one.accept) == telemetry::ExpositionFormat::OpenMetrics) == one.is_openmetrics);
  }
}

TEST_CASE("nothing is compressed for whoever does not ask, and weights are heeded") {
  struct Case {
    std::string_view accept_encoding;
    std::string_view expected;
  };
  const Case cases[] = {
      {"", "identity"},
      {"identity", "identity"},
      {"*", "identity"},
      {"br, zstd", "identity"},
      {"gzip", "gzip"},
      {"GZIP", "gzip"},
      {"x-gzip", "gzip"},
      {"deflate", "deflate"},
      {"gzip, deflate, br", "gzip"},
      {"gzip;q=0.5, deflate;q=0.7", "deflate"},
      {"gzip ; q=0.5 , deflate;q=0", "gzip"},
      {"gzip;q=0", "identity"},
      {"gzip;q=0.0, *", "identity"},
      {"gzip;q=0.5, identity", "identity"},
      {"gzip;q=0.5, identity;q=0.5", "gzip"},
      {"gzip;q=1.000", "gzip"},
      {"gzip;q=1.001", "identity"},
      {"gzip;q=2", "identity"},
      {"gzip;q=0.1234", "identity"},
      {"gzip;q=high", "identity"},
      {"identity;q=0, *", "gzip"},
      {"identity;q=0, gzip;q=0.001", "gzip"},
      {"*;q=0, deflate", "deflate"},
      {"identity;q=0", "none"},
      {"*;q=0", "none"},
      {"identity;q=0, br", "none"},
      {",,;,=", "identity"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.accept_encoding);
    CHECK(coding(one.accept_encoding) == one.expected);
  }
}

TEST_CASE("a body that is compressed in parts is the body") {
  std::string body;
  for (int i = 0; i < 20'000; ++i)
    body += "culvert_things_total{kind=\"" + std::to_string(i * 7919 % 10'007) + "\"} 1\n";
  for (const ContentCoding one : {ContentCoding::Gzip, ContentCoding::Deflate}) {
    const auto compressor = Compressor::create(one);
    REQUIRE(compressor != nullptr);
    std::string out;
    for (std::size_t at = 0; at < body.size(); at += 60'000) {
      compressor->compress(std::string_view(body).substr(at, 60'000), at + 60'000 >= body.size(), out);
    }
    CHECK(out.size() * 4 < body.size());
    CHECK(inflated(out) == body);
  }
  CHECK(Compressor::create(ContentCoding::Identity) == nullptr);
  std::string nothing;
  Compressor::create(ContentCoding::Gzip)->compress({}, true, nothing);
  CHECK(inflated(nothing).empty());
}

}  // namespace culvert::admin
