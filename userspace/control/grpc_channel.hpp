// SPDX-License-Identifier: Apache-2.0
// How the agent reaches its control plane and a collector: one gRPC channel for an address, with the roots that are on disk now and the token of this
// moment. Makes channels and call metadata; keeps nothing. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace culvert::control {

inline constexpr int kGrpcMessageBytesMax = 200 << 20;  // unless the endpoint says less

struct GrpcEndpoint {
  // "https://HOST[:PORT]", "http://HOST[:PORT]" (plaintext: tests and a sidecar only), or HOST:PORT (TLS). Default port 15012, plaintext 15010.
  std::string address;
  // A file with PEM certificates, "SYSTEM" for the system's, or PEM text itself. Read each time a channel is made.
  std::string roots = "/var/run/secrets/istio/root-cert.pem";
  std::string alternative_name;  // accepted beside the address's host name; empty: none
  // A file, read anew for each call (a trailing newline is no part of it), or the token itself. Empty: none is sent.
  std::string token = "/var/run/secrets/tokens/istio-token";
  std::string cluster = "Kubernetes";                        // the header `clusterid`
  std::vector<std::pair<std::string, std::string>> headers;  // sent with each call; names in lower case
  int receive_bytes_max = kGrpcMessageBytesMax;              // of one message
  std::size_t memory_bytes_max = 0;  // that the library may have for the channel; 0: as much as it takes
  int keepalive_ms = 30'000;  // between pings while a call is open, however long nothing else is said; at least 1,000
};

inline constexpr std::uint64_t kGrpcConnectTimeoutMs = 5'000;

// "HOST:PORT" and whether TLS is spoken.
struct GrpcTarget {
  std::string host;
  std::uint16_t port = 0;
  bool is_plaintext = false;
};
// Whose address it is, and its ports where none is given.
struct GrpcAddressKind {
  std::string_view what;
  std::uint16_t port_tls;
  std::uint16_t port_plaintext;
};
inline constexpr GrpcAddressKind kControlPlaneAddress = {
    .what = "the control plane's address", .port_tls = 15'012, .port_plaintext = 15'010};
[[nodiscard]] Result<GrpcTarget> parse_grpc_address(std::string_view address,
                                                    const GrpcAddressKind& kind = kControlPlaneAddress);
// Whether it can be read, before it is used; an empty one stands for none.
[[nodiscard]] Result<void> check_grpc_address(std::string_view address);

// `roots` as said above, as PEM text.
[[nodiscard]] Result<std::string> read_roots(const std::string& roots);
// The bearer token; empty when none is to be sent. A file that cannot be read, or an empty one, is an error that names it.
[[nodiscard]] Result<std::string> read_token(const std::string& token);

// A ping that has no answer within 10 s ends the connection. With an alternative name the channel expects that one when `use_alternative_name`: try the address's
// own first.
[[nodiscard]] Result<std::shared_ptr<grpc::Channel>> make_channel(const GrpcEndpoint& endpoint,
                                                                  bool use_alternative_name = false);
// Authorization, cluster and extra headers.
[[nodiscard]] Result<void> add_metadata(grpc::ClientContext& context, const GrpcEndpoint& endpoint);

}  // namespace culvert::control
