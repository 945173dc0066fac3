// SPDX-License-Identifier: Apache-2.0
#include "base/spiffe_id.hpp"

#include <algorithm>

namespace culvert {
namespace {

constexpr std::size_t kUriBytesMax = 2048;
constexpr std::string_view kScheme = "spiffe://";

bool is_segment(std::string_view text, bool is_trust_domain) {
  if (text.empty() || text.size() > (is_trust_domain ? 255U : 253U) || text == "." || text == "..") return false;
  return std::ranges::all_of(text, [is_trust_domain](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
           (!is_trust_domain && c >= 'A' && c <= 'Z');
  });
}

// Takes the text up to the next '/' off the front of `rest`.
std::string_view next_segment(std::string_view& rest) {
  const std::size_t slash = rest.find('/');
  const std::string_view segment = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
  return segment;
}

}  // namespace

Result<SpiffeId> SpiffeId::make(std::string_view trust_domain, std::string_view namespace_name,
                                std::string_view service_account) {
  if (!is_segment(trust_domain, true) || !is_segment(namespace_name, false) || !is_segment(service_account, false)) {
    return fail(
        ErrorCode::InvalidArgument,
        "trust domain '{}', namespace '{}' and service account '{}' do not make a SPIFFE ID: use letters, digits, "
        "'.', '-' and '_' (lower case in the trust domain)",
        trust_domain, namespace_name, service_account);
  }
  return SpiffeId{std::string(trust_domain), std::string(namespace_name), std::string(service_account)};
}

Result<SpiffeId> SpiffeId::parse(std::string_view uri) {
  if (uri.size() <= kUriBytesMax && uri.starts_with(kScheme) && std::ranges::count(uri, '/') == 6) {
    std::string_view rest = uri.substr(kScheme.size());
    const std::string_view trust_domain = next_segment(rest);
    const std::string_view ns = next_segment(rest);
    const std::string_view namespace_name = next_segment(rest);
    const std::string_view sa = next_segment(rest);
    if (ns == "ns" && sa == "sa") {
      auto made = make(trust_domain, namespace_name, rest);
      if (made) return made;
    }
  }
  return fail(ErrorCode::InvalidArgument,
              "'{}' is not a SPIFFE ID of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT", uri.substr(0, 256));
}

std::string SpiffeId::to_string() const {
  return fmt::format("spiffe://{}/ns/{}/sa/{}", trust_domain, namespace_name, service_account);
}

}  // namespace culvert
