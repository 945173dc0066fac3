// SPDX-License-Identifier: Apache-2.0
#include "control/proxy_config.hpp"

#include <utility>

#include <yaml-cpp/yaml.h>

#include "base/spiffe_id.hpp"
#include "control/config_values.hpp"

namespace culvert::control {
namespace {

constexpr std::string_view kMetaPrefix = "ISTIO_META_";

// Null where the map does not have the key, or has no value for it.
Result<std::optional<std::string>> text_of(const YAML::Node& map, const std::string& key) {
  const YAML::Node value = map[key];
  if (!value.IsDefined() || value.IsNull()) return std::nullopt;
  if (!value.IsScalar()) return fail(ErrorCode::InvalidArgument, "{} must be one value", key);
  return value.Scalar();
}

template <typename Number>
Result<void> read_number(const YAML::Node& map, const std::string& key, std::uint64_t max,
                         std::optional<Number>& target) {
  const std::optional<std::string> text = CV_TRY(text_of(map, key));
  if (!text) return {};
  const auto value = parse_integer(*text);
  if (!value || *value > max) {
    return fail(ErrorCode::InvalidArgument, "{} is {}; a number from 0 to {} is wanted", key, quoted(*text), max);
  }
  target = static_cast<Number>(*value);
  return {};
}

Result<ProxyConfig> read_proxy_config(const YAML::Node& map, ProxyConfig made) {
  if (!map.IsDefined() || map.IsNull()) return made;
  if (!map.IsMap()) return fail(ErrorCode::InvalidArgument, "a map of keys and values is wanted");
  if (auto text = CV_TRY(text_of(map, "discoveryAddress"))) made.discovery_address = *std::move(text);
  CV_TRY(read_number(map, "proxyAdminPort", 65'535, made.admin_port));
  CV_TRY(read_number(map, "statsPort", 65'535, made.stats_port));
  CV_TRY(read_number(map, "concurrency", 256, made.concurrency));
  const YAML::Node metadata = map["proxyMetadata"];
  if (!metadata.IsDefined() || metadata.IsNull()) return made;
  if (!metadata.IsMap()) return fail(ErrorCode::InvalidArgument, "proxyMetadata must be a map of texts");
  for (const auto& entry : metadata) {
    const YAML::Node& key = entry.first;
    const YAML::Node& value = entry.second;
    if (!key.IsScalar() || !value.IsScalar()) {
      return fail(ErrorCode::InvalidArgument, "proxyMetadata must be a map of texts");
    }
    std::string_view name = key.Scalar();
    if (name.starts_with(kMetaPrefix)) name.remove_prefix(kMetaPrefix.size());
    made.metadata.insert_or_assign(std::string(name), value.Scalar());
  }
  return made;
}

Result<void> check_trust_domain(const std::string& key, const std::string& text) {
  if (SpiffeId::make(text, "default", "default")) return {};
  return fail(ErrorCode::InvalidArgument, "{} has {}, which is not a trust domain", key, quoted(text));
}

Result<MeshSettings> read_mesh(const YAML::Node& map) {
  MeshSettings made;
  if (map.IsNull()) return made;
  if (!map.IsMap()) return fail(ErrorCode::InvalidArgument, "a map of keys and values is wanted");
  made.proxy = CV_TRY(with_context(read_proxy_config(map["defaultConfig"], {}), "defaultConfig"));
  if (auto domain = CV_TRY(text_of(map, "trustDomain")); domain && !domain->empty()) {
    CV_TRY(check_trust_domain("trustDomain", *domain));
    made.trust_domain = *std::move(domain);
  }
  const YAML::Node aliases = map["trustDomainAliases"];
  if (!aliases.IsDefined() || aliases.IsNull()) return made;
  if (!aliases.IsSequence()) return fail(ErrorCode::InvalidArgument, "trustDomainAliases must be a list");
  for (const YAML::Node& one : aliases) {
    if (!one.IsScalar()) return fail(ErrorCode::InvalidArgument, "trustDomainAliases must be a list of texts");
    CV_TRY(check_trust_domain("trustDomainAliases", one.Scalar()));
    made.trust_domain_aliases.push_back(one.Scalar());
  }
  return made;
}

// The one place here that catches yaml-cpp's exceptions.
template <typename Read>
auto from_yaml(std::string_view text, Read&& read) -> decltype(read(YAML::Node())) {
  try {
    return read(YAML::Load(std::string(text)));
  } catch (const YAML::Exception& error) {
    return fail(ErrorCode::InvalidArgument, "line {}: not YAML: {}", error.mark.line + 1, error.msg);
  }
}

}  // namespace

Result<MeshSettings> mesh_settings_from(std::string_view text) {
  return from_yaml(text, [](const YAML::Node& root) { return read_mesh(root); });
}

Result<ProxyConfig> proxy_config_over(ProxyConfig below, std::string_view text) {
  if (text.empty()) return below;
  return from_yaml(text, [&below](const YAML::Node& root) { return read_proxy_config(root, below); });
}

}  // namespace culvert::control
