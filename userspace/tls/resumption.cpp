// SPDX-License-Identifier: Apache-2.0
#include "tls/resumption.hpp"

#include <algorithm>

#include <openssl/evp.h>
#include <openssl/rand.h>

namespace culvert::tls {
namespace {

// Ticket: version, tag, key number and nonce in the clear (and authenticated), then sealed: secret, end, roots, two
// identities, and issuer and serial of each certificate of the client.
constexpr std::uint8_t kVersion = 2;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kSealBytes = 16;
constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kHeadBytes = 1 + kTicketTagBytes + 4 + kNonceBytes;
// A key makes tickets for this long and opens them for twice as long, more than any ticket lives.
constexpr std::int64_t kKeyTurnS = kResumptionLifetimeS;

struct Cleaner {
  void operator()(EVP_CIPHER_CTX* context) const noexcept { ::EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Cleaner>;

// AES-256-GCM; `out` has the size of `in`. Sealing writes the tag, opening checks it.
bool crypt(bool is_seal, const Secret<32>& key, ByteView nonce, ByteView head, ByteView in, std::uint8_t* out,
           std::uint8_t* tag) noexcept {
  const CipherContext context(::EVP_CIPHER_CTX_new());
  int size = 0;
  return context &&
         ::EVP_CipherInit_ex(context.get(), ::EVP_aes_256_gcm(), nullptr, key.view().data(), nonce.data(),
                             is_seal ? 1 : 0) == 1 &&
         ::EVP_CipherUpdate(context.get(), nullptr, &size, head.data(), static_cast<int>(head.size())) == 1 &&
         ::EVP_CipherUpdate(context.get(), out, &size, in.data(), static_cast<int>(in.size())) == 1 &&
         (is_seal || ::EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kSealBytes, tag) == 1) &&
         ::EVP_CipherFinal_ex(context.get(), out + size, &size) == 1 &&
         (!is_seal || ::EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kSealBytes, tag) == 1);
}

void write_text(ByteWriter& writer, const std::string& text) noexcept {
  writer.u16(static_cast<std::uint16_t>(text.size()));
  writer.bytes(as_bytes(text));
}

void write_chain(ByteWriter& writer, const VerifiedChain* chain) noexcept {
  const std::size_t count = chain == nullptr ? 0 : chain->certificates.size();
  writer.u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    const IssuedSerial& one = chain->certificates[i];
    writer.bytes(one.issuer);
    writer.u16(static_cast<std::uint16_t>(one.serial.size()));
    writer.bytes(one.serial);
  }
}

// Null for none. The reader says whether it was whole.
std::shared_ptr<const VerifiedChain> read_chain(ByteReader& reader) {
  const std::size_t count = reader.u8();
  if (count == 0 || count > VerifiedChain::kCertificatesMax) return nullptr;
  auto chain = std::make_shared<VerifiedChain>();
  for (std::size_t i = 0; i < count && reader.ok(); ++i) {
    IssuedSerial& one = chain->certificates.emplace_back();
    const ByteView issuer = reader.take(one.issuer.size());
    const ByteView serial = reader.take(reader.u16());
    if (!reader.ok()) return nullptr;
    std::ranges::copy(issuer, one.issuer.begin());
    one.serial.assign(serial.begin(), serial.end());
  }
  return chain;
}

}  // namespace

ResumptionIssuer::ResumptionIssuer() = default;
ResumptionIssuer::~ResumptionIssuer() = default;

bool ResumptionIssuer::make_key(std::int64_t now_s) {
  std::array<std::uint8_t, 32> random;
  std::uint32_t id = 0;
  if (::RAND_priv_bytes(random.data(), random.size()) != 1 ||
      ::RAND_bytes(reinterpret_cast<unsigned char*>(&id), sizeof(id)) != 1) {
    return false;
  }
  keys_[1] = std::move(keys_[0]);
  keys_[0].secret.assign(random);
  keys_[0].id = id;
  keys_[0].made_s = now_s;
  secure_wipe(random.data(), random.size());
  return true;
}

const ResumptionIssuer::Key* ResumptionIssuer::current(std::int64_t now_s) {
  const bool is_old = keys_[0].secret.empty() || now_s >= keys_[0].made_s + kKeyTurnS || now_s < keys_[0].made_s;
  if (is_old && !make_key(now_s)) return nullptr;
  return &keys_[0];
}

ResumptionIssuer::Ticket ResumptionIssuer::issue(const Secret<32>& secret, const TicketTag& tag,
                                                 const ResumptionFacts& facts, std::int64_t now_s) {
  const std::int64_t end_s = std::min(now_s + kResumptionLifetimeS, facts.not_after_s);
  if (end_s <= now_s || secret.size() != kSecretBytes) return {};
  std::array<std::uint8_t, kTicketBytesMax> plain;
  ByteWriter body(plain);
  body.bytes(secret.view());
  body.u64(static_cast<std::uint64_t>(end_s));
  body.bytes(facts.roots);
  write_text(body, facts.server.to_string());
  write_text(body, facts.client.to_string());
  write_chain(body, facts.peer_chain.get());

  Ticket ticket;
  if (body.ok() && kHeadBytes + body.size() + kSealBytes <= kTicketBytesMax) {
    ticket.bytes.resize(kHeadBytes + body.size() + kSealBytes);
    std::array<std::uint8_t, kNonceBytes> nonce;
    const std::scoped_lock lock(mutex_);
    const Key* key = current(now_s);
    bool is_ok = key != nullptr && ::RAND_bytes(nonce.data(), nonce.size()) == 1;
    if (is_ok) {
      ByteWriter head(ticket.bytes);
      head.u8(kVersion);
      head.bytes(tag);
      head.u32(key->id);
      head.bytes(nonce);
      is_ok = crypt(true, key->secret, nonce, head.written(), body.written(), ticket.bytes.data() + kHeadBytes,
                    ticket.bytes.data() + kHeadBytes + body.size());
    }
    if (!is_ok) ticket.bytes.clear();
    ticket.lifetime_s = static_cast<std::uint32_t>(end_s - now_s);
  }
  secure_wipe(plain.data(), plain.size());
  return ticket;
}

std::optional<ResumptionIssuer::Opened> ResumptionIssuer::open(ByteView ticket, const SpiffeId& server,
                                                               const RootsDigest& roots, std::int64_t now_s) {
  if (ticket.size() <= kHeadBytes + kSealBytes || ticket.size() > kTicketBytesMax) return std::nullopt;
  ByteReader head(ticket);
  const bool is_known_version = head.u8() == kVersion;
  static_cast<void>(head.take(kTicketTagBytes));
  const std::uint32_t id = head.u32();
  const ByteView nonce = head.take(kNonceBytes);
  if (!is_known_version) return std::nullopt;
  const ByteView sealed = ticket.subspan(kHeadBytes, ticket.size() - kHeadBytes - kSealBytes);
  std::array<std::uint8_t, kSealBytes> tag;
  std::ranges::copy(ticket.last(kSealBytes), tag.begin());

  std::array<std::uint8_t, kTicketBytesMax> plain;
  bool is_ours = false;
  {
    const std::scoped_lock lock(mutex_);
    for (const Key& key : keys_) {
      if (key.secret.empty() || key.id != id || now_s >= key.made_s + 2 * kKeyTurnS) continue;
      is_ours = crypt(false, key.secret, nonce, ticket.first(kHeadBytes), sealed, plain.data(), tag.data());
      break;
    }
  }
  if (!is_ours) return std::nullopt;
  ByteReader body({plain.data(), sealed.size()});
  std::optional<Opened> opened(std::in_place);
  opened->secret.assign(body.take(kSecretBytes));
  const auto end_s = static_cast<std::int64_t>(body.u64());
  const ByteView made_under = body.take(roots.size());
  const std::string_view of_server = as_text(body.take(body.u16()));
  auto client = SpiffeId::parse(as_text(body.take(body.u16())));
  opened->chain = read_chain(body);
  const bool is_good = body.ok() && body.remaining() == 0 && now_s < end_s && std::ranges::equal(made_under, roots) &&
                       of_server == server.to_string() && client.has_value();
  if (is_good) opened->client = std::move(*client);
  secure_wipe(plain.data(), plain.size());
  if (!is_good) opened.reset();
  return opened;
}

bool ResumptionStore::keep(ByteView ticket, std::uint32_t lifetime_s, std::int64_t now_s) {
  if (ticket.size() < kHeadBytes || ticket.size() > kTicketBytesMax) return false;
  TicketTag tag;
  std::ranges::copy(ticket.subspan(1, kTicketTagBytes), tag.begin());
  const std::scoped_lock lock(mutex_);
  const auto found = std::ranges::find(pending_, tag, &Pending::tag);
  if (found == pending_.end()) return false;
  Entry entry;
  entry.ticket.assign(ticket.begin(), ticket.end());
  entry.secret = std::move(found->secret);
  entry.chain = std::move(found->facts.peer_chain);
  entry.good_until_s =
      std::min({now_s + std::int64_t{lifetime_s}, now_s + kResumptionLifetimeS, found->facts.not_after_s});
  entry.peer = found->facts.server;
  SpiffeId& name = found->facts.expected.trust_domain.empty() ? found->facts.server : found->facts.expected;
  Key key(std::move(found->facts.client), std::move(name), found->facts.roots);
  pending_.erase(found);
  if (entry.good_until_s <= now_s) return false;
  if (entries_.size() >= kTicketsMax && !entries_.contains(key)) {
    entries_.erase(std::ranges::min_element(entries_, {}, [](const auto& one) { return one.second.good_until_s; }));
  }
  entries_.insert_or_assign(std::move(key), std::move(entry));
  return true;
}

void ResumptionStore::forget(const SpiffeId& own) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(entries_, [&](const auto& one) { return std::get<0>(one.first) == own; });
  pending_.remove_if([&](const Pending& one) { return one.facts.client == own; });
}

std::size_t ResumptionStore::tickets() {
  const std::scoped_lock lock(mutex_);
  return entries_.size();
}

std::optional<ResumptionStore::Offer> ResumptionStore::offer(const SpiffeId& own, const std::vector<SpiffeId>& peers,
                                                             const RootsDigest& roots, std::int64_t now_s) {
  const std::scoped_lock lock(mutex_);
  for (const SpiffeId& peer : peers) {
    const auto found = entries_.find(Key(own, peer, roots));
    if (found == entries_.end()) continue;
    const Entry& entry = found->second;
    // A clock that was set back does not make a ticket live longer.
    if (now_s >= entry.good_until_s || now_s + kResumptionLifetimeS < entry.good_until_s) {
      entries_.erase(found);
      continue;
    }
    std::optional<Offer> made(std::in_place);
    made->ticket = entry.ticket;
    made->secret.assign(entry.secret.view());
    made->peer = entry.peer;
    made->key = peer;
    made->chain = entry.chain;
    return made;
  }
  return std::nullopt;
}

void ResumptionStore::expect(const TicketTag& tag, Secret<32> secret, ResumptionFacts facts) {
  const std::scoped_lock lock(mutex_);
  if (pending_.size() >= kPendingMax) pending_.pop_front();
  pending_.push_back({tag, std::move(secret), std::move(facts)});
}

void ResumptionStore::drop(const SpiffeId& own, const SpiffeId& peer, const RootsDigest& roots, ByteView ticket) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(Key(own, peer, roots));
  if (found != entries_.end() && std::ranges::equal(found->second.ticket, ticket)) entries_.erase(found);
}

}  // namespace culvert::tls
