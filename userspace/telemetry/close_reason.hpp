// SPDX-License-Identifier: Apache-2.0
// CloseReason: a connection ends with exactly one. The metric label, the response flag of Istio's metrics, and the text of the
// access log and of `culvertctl` all come from this list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert::telemetry {

// X(Enumerator, "metric_label", "FLAG", "text for a person")
#define CV_CLOSE_REASONS(X)                                                                                      \
  X(Completed, "completed", "-", "both sides finished")                                                          \
  X(ClientReset, "client_reset", "-", "the client application reset the connection")                             \
  X(ServerReset, "server_reset", "-", "the server application reset the connection")                             \
  X(PolicyDenied, "policy_denied", "DENY", "connection closed due to policy rejection")                          \
  X(NoIdentity, "no_identity", "DENY", "connection closed due to policy rejection: STRICT and no peer identity") \
  X(PolicyChanged, "policy_changed", "DENY", "connection closed due to policy change")                           \
  X(UpstreamRefused, "upstream_refused", "CONNECT", "connection failed: refused by the application")             \
  X(UpstreamTimeout, "upstream_timeout", "CONNECT", "connection failed: timed out")                              \
  X(UpstreamFailed, "upstream_failed", "CONNECT", "connection failed")                                           \
  X(TunnelTimeout, "tunnel_timeout", "NETWORK_POLICY",                                                           \
    "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008")                                  \
  X(TunnelFailed, "tunnel_failed", "CONNECT", "cannot connect to the peer's agent")                              \
  X(HandshakeFailed, "handshake_failed", "TLS_FAILURE", "TLS handshake failed")                                  \
  X(HandshakeTimeout, "handshake_timeout", "TLS_FAILURE", "TLS handshake timed out")                             \
  X(PeerIdentity, "peer_identity", "TLS_FAILURE", "the peer's identity is not the one expected")                 \
  X(CertRevoked, "cert_revoked", "CERT_REVOKED", "connection closed: peer certificate revoked by CRL")           \
  X(NoCertificate, "no_certificate", "IDENTITY_ERROR", "no certificate for the local workload")                  \
  X(TunnelBroken, "tunnel_broken", "CONNECT", "the tunnel ended without close_notify (peer agent gone?)")        \
  X(TunnelSilent, "tunnel_silent", "CONNECT", "no answer to PING: the peer's agent or the way to it is gone")    \
  X(TunnelProtocol, "tunnel_protocol", "H2_HANDSHAKE_FAILURE", "the peer's agent broke the tunnel protocol")     \
  X(BadRecord, "bad_record", "TLS_FAILURE", "a TLS record could not be opened")                                  \
  X(KeyLimit, "key_limit", "TLS_FAILURE", "a record key reached its limit and could not be replaced")            \
  X(PeerRefused, "peer_refused", "CONNECT", "refused by the peer's agent")                                       \
  X(SelfCall, "self_call", "CONNECT", "attempted recursive call to ourselves")                                   \
  X(NoRoute, "no_route", "CONNECT", "no way to the destination")                                                 \
  X(UnknownDestination, "unknown_destination", "CONNECT", "the destination is not on this pod")                  \
  X(Overloaded, "overloaded", "CONNECT", "a limit of the agent was reached")                                     \
  X(PodLeft, "pod_left", "-", "the pod left the mesh")                                                           \
  X(Drained, "drained", "-", "connection closed due to connection drain")                                        \
  X(Internal, "internal", "CONNECT", "the agent failed")

enum class CloseReason : std::uint8_t {
#define CV_X(name, label, flag, text) name,
  CV_CLOSE_REASONS(CV_X)
#undef CV_X
};

inline constexpr std::size_t kCloseReasons = 0
#define CV_X(name, label, flag, text) +1
    CV_CLOSE_REASONS(CV_X)
#undef CV_X
    ;

[[nodiscard]] std::string_view label(CloseReason reason) noexcept;
[[nodiscard]] std::string_view response_flag(CloseReason reason) noexcept;
[[nodiscard]] std::string_view text(CloseReason reason) noexcept;

}  // namespace culvert::telemetry
