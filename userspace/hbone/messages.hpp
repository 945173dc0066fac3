// SPDX-License-Identifier: Apache-2.0
// What an HBONE CONNECT and its answer say (docs/hbone.md): authority, baggage, forwarded, traceparent, status. Pure: values and text, no HTTP/2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/address.hpp"

namespace culvert::hbone {

// :authority of a CONNECT: "IPv4:port", "[IPv6]:port" or "hostname:port". Port 1..65535.
struct Authority {
  std::optional<Endpoint> endpoint{};  // set for a socket address
  std::string_view host{};             // otherwise: the hostname
  std::uint16_t port = 0;
};
// Null: neither form. A view of `text`.
[[nodiscard]] std::optional<Authority> parse_authority(std::string_view text) noexcept;
[[nodiscard]] std::string format_authority(const Endpoint& endpoint);
[[nodiscard]] std::string format_authority(std::string_view host, std::uint16_t port);

// The members of a `baggage` header that this mesh uses; empty: unknown. Views when parsed.
struct Baggage {
  std::string_view cluster{};         // k8s.cluster.name
  std::string_view namespace_name{};  // k8s.namespace.name
  std::string_view workload_type{};   // deployment, cronjob, pod, job: the key k8s.<type>.name
  std::string_view workload_name{};   // its value
  std::string_view service{};         // service.name: canonical name
  std::string_view revision{};        // service.version: canonical revision
  std::string_view region{};          // cloud.region
  std::string_view zone{};            // cloud.availability_zone
  bool operator==(const Baggage&) const noexcept = default;
};
[[nodiscard]] Baggage parse_baggage(std::string_view text) noexcept;
[[nodiscard]] std::string format_baggage(const Baggage& baggage);

// `forwarded` (RFC 7239): for="source", and host=service where it is known.
[[nodiscard]] std::string format_forwarded(const Endpoint& source, std::string_view service_host);
// host= of a forwarded header; empty: none.
[[nodiscard]] std::string_view forwarded_host(std::string_view text) noexcept;

// `traceparent` (W3C Trace Context, version 00), 55 characters.
struct TraceParent {
  std::uint64_t trace_high = 0;
  std::uint64_t trace_low = 0;
  std::uint64_t span = 0;
  bool is_sampled = false;  // the lowest bit of the flags; the others are not kept
  bool operator==(const TraceParent&) const noexcept = default;
};
[[nodiscard]] std::string format_traceparent(const TraceParent& parent);
[[nodiscard]] std::optional<TraceParent> parse_traceparent(std::string_view text) noexcept;

// Header values; empty ones are not sent. Views: copied by Session::connect, valid during Events::on_connect.
struct ConnectRequest {
  std::string_view authority{};
  std::string_view baggage{};
  std::string_view forwarded{};
  std::string_view traceparent{};
  std::string_view forwarded_network{};  // x-forwarded-network
};
struct ConnectResponse {
  std::uint16_t status = 0;
  std::string_view baggage{};
};

// Codes of RST_STREAM and GOAWAY that the tunnel uses (RFC 9113 section 7).
inline constexpr std::uint32_t kNoError = 0;
inline constexpr std::uint32_t kProtocolError = 1;
inline constexpr std::uint32_t kInternalError = 2;
inline constexpr std::uint32_t kFlowControlError = 3;
inline constexpr std::uint32_t kSettingsTimeout = 4;
inline constexpr std::uint32_t kRefusedStream = 7;
inline constexpr std::uint32_t kCancel = 8;
inline constexpr std::uint32_t kConnectError = 10;
inline constexpr std::uint32_t kEnhanceYourCalm = 11;

}  // namespace culvert::hbone
