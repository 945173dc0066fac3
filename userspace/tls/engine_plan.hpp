// SPDX-License-Identifier: Apache-2.0
// Which engine carries the records of each direction: decided once at start by trying (probe_engines really sends records
// through each cipher both ways over loopback), overridden by configuration, followed by every connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "tls/cipher.hpp"

namespace culvert::tls {

enum class EngineChoice : std::uint8_t {
  Auto,
  User,
  UserEvp,
  UserIpsecMb,
  Kernel
};  // the config's words: auto, user, ...

// Whether the relay moves an application's bytes into kernel records without copying them through user space (splice). Auto: flows that fill
// large reads; Always: from the first byte on. Records made in user space cannot be spliced into, whatever is chosen.
enum class SpliceChoice : std::uint8_t { Auto, Never, Always };  // the config's words

// What this machine's kernel does with one cipher.
struct KernelCipherSupport {
  bool tx = false;
  bool rx = false;
  bool tx_rekey = false;
  bool rx_rekey = false;
  std::string detail;  // why not, for a person
};

struct EngineSupport {
  bool has_ulp = false;                       // TCP_ULP "tls" attaches
  bool has_ipsec_mb = false;                  // library usable on this processor
  std::array<KernelCipherSupport, 3> kernel;  // by Cipher
  std::string ulp_detail;                     // "kernel module tls is not loaded: modprobe tls", ...
};

// Records under one key: our own KeyUpdate comes at `rekey`; at `hard` a direction that cannot rekey stops (RFC 8446 section
// 5.5 allows 2^24.5 for AES-GCM). Smaller in tests.
struct KeyLimits {
  std::uint32_t rekey = std::uint32_t{1} << 23U;
  std::uint32_t hard = std::uint32_t{1} << 24U;
};

// What one connection follows; small, copied into each.
struct EnginePlan {
  std::array<Engine, 3> tx{};  // by Cipher
  std::array<Engine, 3> rx{};
  Engine user = Engine::UserEvp;
  bool kernel_rekey = false;  // second setsockopt works
  bool attach_ulp = false;    // any direction of any cipher is Kernel
  KeyLimits limits;
};

// Sends real records over a loopback pair in the calling thread's namespace; takes some milliseconds, never fails.
[[nodiscard]] EngineSupport probe_engines();
// `auto`: kernel only where that direction works *and* rekeys; else the fastest user-space engine. `kernel` is taken at its
// word where the probe succeeded (without rekey such a connection is retired at its key limit).
[[nodiscard]] EnginePlan plan_engines(const EngineSupport& support, EngineChoice tx, EngineChoice rx);

// The same plan for a descriptor that is no TCP socket.
[[nodiscard]] EnginePlan without_kernel(EnginePlan plan) noexcept;

}  // namespace culvert::tls
