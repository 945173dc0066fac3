// SPDX-License-Identifier: Apache-2.0
// Compressor: a body as gzip (RFC 1952) or zlib (RFC 1950, what HTTP calls deflate), part by part. Needs 270 KB while it lives.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "admin/negotiation.hpp"

namespace culvert::admin {

class Compressor {
 public:
  // Null for Identity, and where there is no memory.
  [[nodiscard]] static std::unique_ptr<Compressor> create(ContentCoding coding);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // Appends what comes out for `data`; with `is_last` all that is left.
  void compress(std::string_view data, bool is_last, std::string& out);

 private:
  struct Stream;
  explicit Compressor(std::unique_ptr<Stream> stream);
  std::unique_ptr<Stream> stream_;
};

}  // namespace culvert::admin
