// SPDX-License-Identifier: Apache-2.0
// What the tests of kernel records share: what this kernel can do, a pair of tunnels with chosen engines, and transfers.
#pragma once

#include "openssl_program.hpp"
#include "raw_peer.hpp"
#include "support.hpp"
#include "tls/credential_contexts.hpp"

namespace culvert::tls::test {

inline constexpr Cipher kCiphers[] = {Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305};
inline constexpr auto kNever = [](const Got&) { return false; };

// CULVERT_KERNEL_TLS=required: this kernel is known to have every cipher in both directions, so one that is missing is a failure.
bool is_kernel_tls_required();
const EngineSupport& machine();
// Says aloud what is skipped, and fails where it is required.
bool has(Cipher cipher);
bool has_rekey();
EnginePlan kernel_plan(EngineChoice tx = EngineChoice::Kernel, EngineChoice rx = EngineChoice::Kernel);
// Only this cipher is offered.
void restrict(const std::shared_ptr<const Credentials>& credentials, Cipher cipher);

struct Pair {
  Pair(Cipher cipher, const EnginePlan& client_plan, const EnginePlan& server_plan);

  Authority authority;
  End client_end{Engine::UserIpsecMb};
  End server_end{Engine::UserIpsecMb};
  TunnelSocket client;
  TunnelSocket server;
};

// `size` bytes each way at once, by send and receive.
void both_ways(Pair& pair, std::size_t size);
std::string received(End& end, TunnelSocket& socket, std::size_t size);

}  // namespace culvert::tls::test
