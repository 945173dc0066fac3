// SPDX-License-Identifier: Apache-2.0
// The messages between istio-cni and the node's proxy (proto/zds.proto), as values. Pure: bytes and a count of descriptors in, values out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace culvert::control {

// One message is one packet. ztunnel reads 1,024 bytes.
inline constexpr std::size_t kZdsPacketBytesMax = 4'096;

struct ZdsWorkload {
  std::string uid;  // the pod's, from Kubernetes
  std::string name;
  std::string namespace_name;
  std::string service_account;
  bool operator==(const ZdsWorkload&) const = default;
};

struct ZdsRequest {
  enum class Kind : std::uint8_t { Add, Keep, Delete, SnapshotSent };
  Kind kind = Kind::SnapshotSent;
  ZdsWorkload workload;  // Add: all of it; Keep, Delete: the uid
};

// An error is one of the protocol: not such a message, an Add without who it is about, or other descriptors beside it than one for an Add
// and none for the rest.
[[nodiscard]] Result<ZdsRequest> parse_zds_request(std::string_view packet, std::size_t descriptors);

[[nodiscard]] std::string make_zds_hello();
// `error` empty: taken. istio-cni reads 1,024 bytes: at most kZdsErrorBytesMax of it are sent.
inline constexpr std::size_t kZdsErrorBytesMax = 900;
[[nodiscard]] std::string make_zds_ack(std::string_view error);

}  // namespace culvert::control
