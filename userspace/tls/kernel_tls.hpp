// SPDX-License-Identifier: Apache-2.0
// The kernel's TLS record layer (TCP_ULP "tls") as plain functions of a descriptor: attach, install keys, send and receive
// records with their type. No state of ours. Every call gives its errno; what a kernel cannot do is found by trying.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/bytes.hpp"
#include "tls/cipher.hpp"
#include "tls/traffic_keys.hpp"

namespace culvert::tls::kernel {

enum class Direction : std::uint8_t { Tx, Rx };

// 0 or an errno: ENOENT without the module, ENOTCONN when not connected (or when the peer's FIN is already here).
[[nodiscard]] int attach_ulp(int fd) noexcept;
// Installs key, IV and sequence number; a second time it is a rekey (EBUSY before Linux 6.14). 0 or an errno.
[[nodiscard]] int install(int fd, Direction direction, Cipher cipher, const TrafficKeys& keys) noexcept;
// The sequence number of the next record that the kernel will seal.
[[nodiscard]] std::optional<std::uint64_t> tx_sequence(int fd, Cipher cipher) noexcept;

// Sends `data` as a record of `type`, 16 KiB at most: bytes taken or -errno.
[[nodiscard]] ssize_t send_record(int fd, std::uint8_t type, ByteView data) noexcept;

struct Received {
  ssize_t bytes = 0;      // or -errno
  std::uint8_t type = 0;  // 0: the kernel told none, which with 0 bytes is the end of the TCP stream
};
// Application data of several records at once, or one record of another type.
[[nodiscard]] Received receive_records(int fd, MutableBytes space) noexcept;

}  // namespace culvert::tls::kernel
