// SPDX-License-Identifier: Apache-2.0
#include "admin/compressor.hpp"

#include <array>
#include <cstddef>

#include <zlib.h>

#include "base/assert.hpp"

namespace culvert::admin {
namespace {

// Metrics say the same thing over and over: the quickest level leaves a fifteenth of them.
constexpr int kLevel = 1;
constexpr int kWindowBits = 15;
constexpr int kGzipWrapper = 16;  // added to the window's bits
constexpr int kMemoryLevel = 8;

}  // namespace

struct Compressor::Stream {
  z_stream state{};
};

Compressor::Compressor(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

std::unique_ptr<Compressor> Compressor::create(ContentCoding coding) {
  if (coding == ContentCoding::Identity) return nullptr;
  auto stream = std::make_unique<Stream>();
  const int bits = coding == ContentCoding::Gzip ? kWindowBits + kGzipWrapper : kWindowBits;
  if (::deflateInit2(&stream->state, kLevel, Z_DEFLATED, bits, kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK)
    return nullptr;
  return std::unique_ptr<Compressor>(new Compressor(std::move(stream)));
}

Compressor::~Compressor() { ::deflateEnd(&stream_->state); }

void Compressor::compress(std::string_view data, bool is_last, std::string& out) {
  z_stream& state = stream_->state;
  std::array<char, 16'384> part;
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));  // zlib only reads it
  state.avail_in = static_cast<uInt>(data.size());
  do {
    state.next_out = reinterpret_cast<Bytef*>(part.data());
    state.avail_out = static_cast<uInt>(part.size());
    const int result = ::deflate(&state, is_last ? Z_FINISH : Z_NO_FLUSH);
    CV_ASSERT(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR);
    out.append(part.data(), part.size() - state.avail_out);
  } while (state.avail_out == 0);
}

}  // namespace culvert::admin
