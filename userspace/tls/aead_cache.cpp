// SPDX-License-Identifier: Apache-2.0
#include "tls/aead_cache.hpp"

#include <algorithm>
#include <cstring>

namespace culvert::tls {
namespace {

bool is_same(ByteView left, ByteView right) noexcept {
  return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size()) == 0;
}

}  // namespace

Aead* AeadCache::get(std::uint32_t place, Engine engine, Cipher cipher, ByteView key) {
  auto& set = sets_[place % kSets];
  ++clock_;
  for (Entry& entry : set) {
    if (!entry.key.empty() && entry.engine == engine && entry.cipher == cipher && is_same(entry.key.view(), key)) {
      entry.used_at = clock_;
      return entry.aead.get();
    }
  }
  Entry& oldest = *std::ranges::min_element(set, {}, &Entry::used_at);
  ++expansions_;
  oldest.key.wipe();
  if (oldest.aead && oldest.engine == engine && oldest.cipher == cipher) {
    if (!oldest.aead->set_key(key)) return nullptr;
  } else {
    oldest.aead = make_aead(engine, cipher, key);
    if (!oldest.aead) return nullptr;
  }
  oldest.key.assign(key);
  oldest.engine = engine;
  oldest.cipher = cipher;
  oldest.used_at = clock_;
  return oldest.aead.get();
}

void AeadCache::drop(std::uint32_t place, ByteView key) noexcept {
  for (Entry& entry : sets_[place % kSets]) {
    if (entry.key.empty() || !is_same(entry.key.view(), key)) continue;
    entry.key.wipe();
    entry.aead->wipe();
    entry.used_at = 0;
  }
}

void AeadCache::clear() noexcept {
  for (auto& set : sets_) {
    for (Entry& entry : set) {
      entry.key.wipe();
      entry.aead.reset();
      entry.used_at = 0;
    }
  }
}

}  // namespace culvert::tls
