// SPDX-License-Identifier: Apache-2.0
#include "tls/revocation_list.hpp"

#include <algorithm>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/certificate.hpp"

namespace culvert::tls {
namespace {

using IntegerPtr = std::unique_ptr<ASN1_INTEGER, FreeBy<::ASN1_INTEGER_free>>;
using ScopePtr = std::unique_ptr<ISSUING_DIST_POINT, FreeBy<::ISSUING_DIST_POINT_free>>;

std::string name_of(X509_CRL* crl) {
  const BioPtr bio(::BIO_new(::BIO_s_mem()));
  char* data = nullptr;
  if (!bio || ::X509_NAME_print_ex(bio.get(), ::X509_CRL_get_issuer(crl), 0, XN_FLAG_RFC2253) < 0) return "?";
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

// A list is taken only when every critical word of it is understood (RFC 5280 section 5.2).
Result<void> check_extensions(X509_CRL* crl, RevocationList& list, std::size_t number) {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::InvalidArgument, "revocation list {} (issuer {}): {}", number, list.info.issuer, why);
  };
  for (int i = 0; i < ::X509_CRL_get_ext_count(crl); ++i) {
    X509_EXTENSION* extension = ::X509_CRL_get_ext(crl, i);
    const int nid = ::OBJ_obj2nid(::X509_EXTENSION_get_object(extension));
    if (nid == NID_delta_crl) return refuse("it is a delta list; only whole lists are understood");
    if (nid == NID_issuing_distribution_point || nid == NID_authority_key_identifier || nid == NID_crl_number) continue;
    if (::X509_EXTENSION_get_critical(extension) != 0) {
      return refuse(fmt::format("it has a critical extension ({}) that is not understood", ::OBJ_nid2ln(nid)));
    }
  }
  int critical = 0;
  const ScopePtr scope(static_cast<ISSUING_DIST_POINT*>(
      ::X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, nullptr)));
  if (!scope) {
    static_cast<void>(take_openssl_error());
    return critical == -1 ? Result<void>() : refuse("its issuing distribution point cannot be read");
  }
  if (scope->indirectCRL > 0) return refuse("it is an indirect list; only lists of the issuer itself are understood");
  list.is_complete =
      scope->onlyuser <= 0 && scope->onlyCA <= 0 && scope->onlyattr <= 0 && scope->onlysomereasons == nullptr;
  return {};
}

Result<RevocationList> describe(CrlPtr crl, std::size_t number) {
  RevocationList list;
  list.info.issuer = name_of(crl.get());
  if (auto good = check_extensions(crl.get(), list, number); !good) return std::unexpected(std::move(good).error());
  const STACK_OF(X509_REVOKED)* entries = ::X509_CRL_get_REVOKED(crl.get());
  list.info.entries = entries == nullptr ? 0 : static_cast<std::size_t>(std::max(0, sk_X509_REVOKED_num(entries)));
  list.info.this_update_s = unix_seconds(::X509_CRL_get0_lastUpdate(crl.get()));
  list.info.next_update_s = unix_seconds(::X509_CRL_get0_nextUpdate(crl.get()));
  list.crl = std::move(crl);
  return list;
}

Result<std::vector<CrlPtr>> read_der(std::string_view text) {
  const auto* data = reinterpret_cast<const unsigned char*>(text.data());
  std::vector<CrlPtr> crls;
  crls.emplace_back(::d2i_X509_CRL(nullptr, &data, static_cast<long>(text.size())));
  const bool is_whole = crls.front() && data == reinterpret_cast<const unsigned char*>(text.data() + text.size());
  static_cast<void>(take_openssl_error());
  if (!is_whole) {
    return fail(ErrorCode::InvalidArgument, "it holds no revocation list: neither \"BEGIN X509 CRL\" nor one in DER");
  }
  return crls;
}

std::size_t occurrences(std::string_view text, std::string_view word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + word.size())) ++count;
  return count;
}

// No terminal is ever asked for a passphrase.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<std::vector<CrlPtr>> read_pem(std::string_view text) {
  // OpenSSL takes a first line that was cut off for the end of what there is.
  if (occurrences(text, "-----BEGIN ") != occurrences(text, "-----END ")) {
    return fail(ErrorCode::InvalidArgument, "it is not whole: a PEM block has no end");
  }
  const BioPtr bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  std::vector<CrlPtr> crls;
  ::ERR_clear_error();
  while (X509_CRL* crl = ::PEM_read_bio_X509_CRL(bio.get(), nullptr, no_passphrase, nullptr)) {
    crls.emplace_back(crl);
    if (crls.size() > Revocation::kListsMax) {
      return fail(ErrorCode::InvalidArgument, "it holds more than {} revocation lists", Revocation::kListsMax);
    }
  }
  const unsigned long code = ::ERR_peek_last_error();
  const bool is_at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  const std::string why = take_openssl_error();
  if (!is_at_end) {
    return fail(ErrorCode::InvalidArgument, "revocation list {} is damaged or not whole: {}", crls.size() + 1, why);
  }
  return crls;
}

}  // namespace

Result<std::vector<RevocationList>> revocation_lists_from(std::string_view text) {
  if (text.size() > Revocation::kBytesMax) {
    return fail(ErrorCode::InvalidArgument, "{} bytes of revocation lists are too many; {} at most are read",
                text.size(), Revocation::kBytesMax);
  }
  const bool is_pem = text.find("-----BEGIN X509 CRL-----") != std::string_view::npos;
  std::vector<CrlPtr> crls = CV_TRY(is_pem ? read_pem(text) : read_der(text));
  std::vector<RevocationList> lists;
  lists.reserve(crls.size());
  for (CrlPtr& crl : crls) lists.push_back(CV_TRY(describe(std::move(crl), lists.size() + 1)));
  return lists;
}

bool is_signed_by(const RevocationList& list, X509* issuer) noexcept {
  if (::X509_NAME_cmp(::X509_CRL_get_issuer(list.crl.get()), ::X509_get_subject_name(issuer)) != 0) return false;
  if ((::X509_get_key_usage(issuer) & KU_CRL_SIGN) == 0) return false;  // without the extension every bit is set
  EVP_PKEY* key = ::X509_get0_pubkey(issuer);
  const bool is_signed = key != nullptr && ::X509_CRL_verify(list.crl.get(), key) == 1;
  if (!is_signed) static_cast<void>(take_openssl_error());
  return is_signed;
}

bool has_serial(const RevocationList& list, std::span<const std::uint8_t> serial) noexcept {
  const unsigned char* data = serial.data();
  const IntegerPtr number(::d2i_ASN1_INTEGER(nullptr, &data, static_cast<long>(serial.size())));
  X509_REVOKED* entry = nullptr;
  // 2 says removeFromCRL, which only delta lists have.
  return number && ::X509_CRL_get0_by_serial(list.crl.get(), &entry, number.get()) == 1;
}

}  // namespace culvert::tls
