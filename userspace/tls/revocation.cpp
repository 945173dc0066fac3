// SPDX-License-Identifier: Apache-2.0
#include "tls/revocation.hpp"

#include <algorithm>
#include <optional>

#include "tls/certificate.hpp"
#include "tls/revocation_list.hpp"

namespace culvert::tls {
namespace {

using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeBy<::EVP_MD_CTX_free>>;

std::optional<IssuerDigest> digest_of_issuer(X509* certificate) {
  const DigestContext context(::EVP_MD_CTX_new());
  unsigned char* name = nullptr;
  unsigned char* key = nullptr;
  const int name_size = ::i2d_X509_NAME(::X509_get_subject_name(certificate), &name);
  const int key_size = ::i2d_X509_PUBKEY(::X509_get_X509_PUBKEY(certificate), &key);
  IssuerDigest digest;
  const bool is_ok = context && name_size > 0 && key_size > 0 &&
                     ::EVP_DigestInit_ex(context.get(), ::EVP_sha256(), nullptr) == 1 &&
                     ::EVP_DigestUpdate(context.get(), name, static_cast<std::size_t>(name_size)) == 1 &&
                     ::EVP_DigestUpdate(context.get(), key, static_cast<std::size_t>(key_size)) == 1 &&
                     ::EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  ::OPENSSL_free(name);
  ::OPENSSL_free(key);
  if (!is_ok) return std::nullopt;
  return digest;
}

std::vector<std::uint8_t> serial_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = ::i2d_ASN1_INTEGER(::X509_get_serialNumber(certificate), &der);
  std::vector<std::uint8_t> serial;
  if (size > 0) serial.assign(der, der + size);
  ::OPENSSL_free(der);
  return serial;
}

}  // namespace

struct Revocation::List : RevocationList {};

// `lists` are those that it has signed.
struct Revocation::Issuer {
  CertificatePtr certificate;
  std::vector<const List*> lists;
};

Revocation::Revocation(bool fails_closed) : fails_closed_(fails_closed) {}
Revocation::~Revocation() = default;

Result<void> Revocation::load(std::string_view text) {
  std::vector<RevocationList> read = CV_TRY(revocation_lists_from(text));
  std::vector<std::unique_ptr<List>> lists;
  lists.reserve(read.size());
  for (RevocationList& one : read) lists.push_back(std::make_unique<List>(List{std::move(one)}));

  const std::scoped_lock lock(mutex_);
  lists_.swap(lists);
  for (auto& [digest, issuer] : issuers_) vouch(*issuer);
  return {};
}

void Revocation::vouch(Issuer& issuer) {
  issuer.lists.clear();
  for (const std::unique_ptr<List>& list : lists_) {
    if (!is_signed_by(*list, issuer.certificate.get())) continue;
    list->info.is_vouched = true;
    issuer.lists.push_back(list.get());
  }
}

bool Revocation::know(const stack_st_X509* chain, std::size_t first) {
  const auto count = static_cast<std::size_t>(sk_X509_num(chain));
  for (std::size_t i = first; i < count; ++i) {
    X509* certificate = sk_X509_value(chain, static_cast<int>(i));
    const auto digest = digest_of_issuer(certificate);
    if (!digest) return false;
    if (issuers_.contains(*digest)) continue;
    if (issuers_.size() >= kIssuersMax || ::X509_up_ref(certificate) != 1) return false;
    auto issuer = std::make_unique<Issuer>();
    issuer->certificate.reset(certificate);
    vouch(*issuer);
    issuers_.emplace(*digest, std::move(issuer));
  }
  return true;
}

Result<void> Revocation::know_issuers(std::string_view pem) {
  std::vector<CertificatePtr> certificates = CV_TRY(certificates_from_pem(pem, "list of issuers"));
  const CertificateStack stack(sk_X509_new_null());
  for (CertificatePtr& one : certificates) {
    if (!stack || sk_X509_push(stack.get(), one.get()) <= 0) return fail(ErrorCode::ResourceExhausted, "no memory");
    static_cast<void>(one.release());
  }
  const std::scoped_lock lock(mutex_);
  if (!know(stack.get(), 0)) {
    return fail(ErrorCode::ResourceExhausted, "more than {} issuers of certificates are known already", kIssuersMax);
  }
  return {};
}

std::shared_ptr<const VerifiedChain> Revocation::track(const stack_st_X509* chain) {
  const int count = sk_X509_num(chain);
  if (count < 1 || static_cast<std::size_t>(count) > VerifiedChain::kCertificatesMax) return nullptr;
  auto made = std::make_shared<VerifiedChain>();
  for (int i = 0; i + 1 < count; ++i) {
    const auto issuer = digest_of_issuer(sk_X509_value(chain, i + 1));
    std::vector<std::uint8_t> serial = serial_of(sk_X509_value(chain, i));
    if (!issuer || serial.empty()) return nullptr;
    made->certificates.push_back({*issuer, std::move(serial)});
  }
  const std::scoped_lock lock(mutex_);
  return know(chain, 1) ? made : nullptr;
}

bool Revocation::is_listed(const IssuedSerial& certificate) const {
  const auto issuer = issuers_.find(certificate.issuer);
  return issuer != issuers_.end() && std::ranges::any_of(issuer->second->lists, [&](const List* list) {
           return has_serial(*list, certificate.serial);
         });
}

bool Revocation::is_covered(const IssuedSerial& certificate, std::int64_t now_s) const {
  const auto issuer = issuers_.find(certificate.issuer);
  return issuer != issuers_.end() && std::ranges::any_of(issuer->second->lists, [now_s](const List* list) {
           return list->is_complete && list->info.this_update_s <= now_s &&
                  (list->info.next_update_s == 0 || now_s < list->info.next_update_s);
         });
}

bool Revocation::is_revoked(const VerifiedChain& chain) const {
  const std::scoped_lock lock(mutex_);
  return std::ranges::any_of(chain.certificates, [this](const IssuedSerial& one) { return is_listed(one); });
}

Revocation::Judgement Revocation::judge(const VerifiedChain* chain, std::int64_t now_s) const {
  if (chain == nullptr) return {fails_closed_ ? Standing::Unknown : Standing::Good, 0};
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < chain->certificates.size(); ++i) {
    if (is_listed(chain->certificates[i])) return {Standing::Revoked, i};
  }
  for (std::size_t i = 0; fails_closed_ && i < chain->certificates.size(); ++i) {
    if (!is_covered(chain->certificates[i], now_s)) return {Standing::Unknown, i};
  }
  return {};
}

std::vector<Revocation::ListInfo> Revocation::lists() const {
  const std::scoped_lock lock(mutex_);
  std::vector<ListInfo> rows;
  rows.reserve(lists_.size());
  for (const std::unique_ptr<List>& list : lists_) rows.push_back(list->info);
  return rows;
}

}  // namespace culvert::tls
