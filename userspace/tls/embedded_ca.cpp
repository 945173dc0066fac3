// SPDX-License-Identifier: Apache-2.0
#include "tls/embedded_ca.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/secret.hpp"
#include "tls/ca_files.hpp"
#include "tls/certificate.hpp"
#include "tls/certificate_maker.hpp"

namespace culvert::tls {
namespace {

constexpr std::int64_t kCaLifetimeS = std::int64_t{10} * 365 * 24 * 3600;
constexpr std::int64_t kBackdateS = 120;  // clocks of two nodes differ
constexpr std::int64_t kLeafLifetimeMinS = 1;

std::int64_t now_s() noexcept { return static_cast<std::int64_t>(wall_us() / 1'000'000); }

// What is in `path`, or `content` after it was put there. When two agents start at once both end up with the first one's.
template <typename Make>
Result<std::string> read_or_create(const std::string& path, bool is_secret, Make&& make) {
  auto present = read_file(path, is_secret);
  if (present || present.error().code() != ErrorCode::NotFound) return present;
  const std::string content = CV_TRY(make());
  auto created = create_file(path, content, is_secret ? 0600 : 0644);
  if (created) return content;
  if (created.error().code() != ErrorCode::AlreadyExists) return std::unexpected(created.error());
  return read_file(path, is_secret);
}

Result<std::string> make_key_pem() {
  const KeyPtr key = CV_TRY(make_p256_key());
  return to_pem(key.get());
}

Result<std::string> make_root_pem(EVP_PKEY* key) {
  CertificateTemplate root;
  root.common_name = "Culvert embedded CA";
  root.not_before_s = now_s() - kBackdateS;
  root.not_after_s = root.not_before_s + kCaLifetimeS;
  root.extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                     {NID_key_usage, "critical,keyCertSign,cRLSign"},
                     {NID_subject_key_identifier, "hash"}};
  const CertificatePtr certificate = CV_TRY(make_certificate(root, key, nullptr, key));
  return to_pem(certificate.get());
}

}  // namespace

struct EmbeddedCa::State {
  KeyPtr key;
  CertificatePtr certificate;
  std::string certificate_pem;
};

EmbeddedCa::EmbeddedCa(std::unique_ptr<State> state) : state_(std::move(state)) {}
EmbeddedCa::~EmbeddedCa() = default;

Result<std::unique_ptr<EmbeddedCa>> EmbeddedCa::open_or_create(const std::string& directory) {
  CV_TRY(ensure_directory(directory));
  const std::string key_path = directory + "/ca.key";
  const std::string certificate_path = directory + "/ca.crt";
  auto state = std::make_unique<State>();
  std::string key_pem = CV_TRY(read_or_create(key_path, true, make_key_pem));
  auto key = with_context(p256_key_from_pem(key_pem), key_path);
  secure_wipe(key_pem.data(), key_pem.size());
  state->key = CV_TRY(std::move(key));
  state->certificate_pem =
      CV_TRY(read_or_create(certificate_path, false, [&] { return make_root_pem(state->key.get()); }));
  auto certificates =
      CV_TRY(with_context(certificates_from_pem(state->certificate_pem, "CA certificate"), certificate_path));
  state->certificate = std::move(certificates.front());
  if (::X509_check_private_key(state->certificate.get(), state->key.get()) != 1) {
    static_cast<void>(take_openssl_error());
    return fail(ErrorCode::InvalidArgument, "{} does not fit the key {}: restore the pair, or remove both for a new CA",
                certificate_path, key_path);
  }
  if (const std::int64_t end_s = unix_seconds(::X509_get0_notAfter(state->certificate.get())); end_s <= now_s()) {
    return fail(ErrorCode::InvalidArgument, "{} ended at {}: remove it and {} for a new CA", certificate_path,
                utc_text(end_s), key_path);
  }
  return std::unique_ptr<EmbeddedCa>(new EmbeddedCa(std::move(state)));
}

Result<std::shared_ptr<const Credentials>> EmbeddedCa::issue(const SpiffeId& identity, std::int64_t lifetime_s) const {
  const KeyPtr key = CV_TRY(make_p256_key());
  const std::int64_t now = now_s();
  CertificateTemplate leaf;
  leaf.not_before_s = now - kBackdateS;
  leaf.not_after_s = std::min(now + std::max(lifetime_s, kLeafLifetimeMinS),
                              unix_seconds(::X509_get0_notAfter(state_->certificate.get())));
  leaf.extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                     {NID_key_usage, "critical,digitalSignature"},
                     {NID_ext_key_usage, "serverAuth,clientAuth"},
                     {NID_authority_key_identifier, "keyid"},
                     {NID_subject_alt_name, "critical,URI:" + identity.to_string()}};
  const CertificatePtr certificate =
      CV_TRY(make_certificate(leaf, key.get(), state_->certificate.get(), state_->key.get()));
  std::string key_pem = CV_TRY(to_pem(key.get()));
  auto credentials = Credentials::from_pem(CV_TRY(to_pem(certificate.get())), key_pem, state_->certificate_pem);
  secure_wipe(key_pem.data(), key_pem.size());
  return credentials;
}

const std::string& EmbeddedCa::certificate_pem() const noexcept { return state_->certificate_pem; }

}  // namespace culvert::tls
