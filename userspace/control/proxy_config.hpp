// SPDX-License-Identifier: Apache-2.0
// What Istio's mesh configuration says to a proxy: the ProxyConfig of PROXY_CONFIG and of the mesh file's `defaultConfig`, and the mesh's trust
// domains. Both are YAML; keys that mean nothing here are passed over, as ztunnel does. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace culvert::control {

// Where ztunnel looks for the mesh file, from its working directory.
inline constexpr std::string_view kMeshFile = "./etc/istio/config/mesh";
inline constexpr std::size_t kMeshBytesMax = std::size_t{1} << 20U;

struct ProxyConfig {
  std::optional<std::string> discovery_address;
  std::optional<std::uint16_t> admin_port;
  std::optional<std::uint16_t> stats_port;
  std::optional<std::uint32_t> concurrency;     // worker threads; 0: one per CPU
  std::map<std::string, std::string> metadata;  // names without ISTIO_META_ in front
};

struct MeshSettings {
  ProxyConfig proxy;
  std::string trust_domain;  // empty: it does not say
  std::vector<std::string> trust_domain_aliases;
};

// Errors name the key, its value and what is wanted.
[[nodiscard]] Result<MeshSettings> mesh_settings_from(std::string_view text);
// What `text` says replaces what `below` says; metadata is merged. Empty: nothing.
[[nodiscard]] Result<ProxyConfig> proxy_config_over(ProxyConfig below, std::string_view text);

}  // namespace culvert::control
