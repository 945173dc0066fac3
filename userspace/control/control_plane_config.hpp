// SPDX-License-Identifier: Apache-2.0
// What the agent knows of a control plane: where it is, how it is trusted, and who the agent says that it is. Plain values; the file says some of
// them, the environment (environment.hpp) all.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace culvert::control {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct ControlPlaneConfig {
  std::string xds_address;  // "https://HOST:PORT"; empty: the mesh is what the file says
  std::string ca_address;   // likewise; empty: the built-in CA
  std::string xds_roots = "/var/run/secrets/istio/root-cert.pem";  // a file, SYSTEM, or PEM text
  std::string ca_roots = "/var/run/secrets/istio/root-cert.pem";
  std::string xds_alternative_name;
  std::string ca_alternative_name;
  std::string token = "/var/run/secrets/tokens/istio-token";  // a file, or the token itself
  bool on_demand = false;  // workloads and services are asked for when they are needed
  std::uint64_t certificate_lifetime_ms = 24ULL * 3'600'000;
  std::string cluster_domain = "cluster.local";
  // From the environment only.
  HeaderList xds_headers;
  HeaderList ca_headers;
  HeaderList metadata;       // of the node, texts
  HeaderList metadata_json;  // of the node, JSON values
  std::string pod_name;      // the agent's own pod
  std::string pod_namespace;
  std::string service_account;
  std::string instance_address;

  bool operator==(const ControlPlaneConfig&) const = default;
};

}  // namespace culvert::control
