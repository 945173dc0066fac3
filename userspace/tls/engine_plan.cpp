// SPDX-License-Identifier: Apache-2.0
#include "tls/engine_plan.hpp"

#include "tls/aead.hpp"

namespace culvert::tls {
namespace {

constexpr std::array<Cipher, 3> kCiphers = {Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305};

Engine user_engine(const EngineSupport& support, EngineChoice choice) noexcept {
  if (choice == EngineChoice::UserEvp) return Engine::UserEvp;
  return support.has_ipsec_mb ? Engine::UserIpsecMb : Engine::UserEvp;
}

bool takes_kernel(EngineChoice choice, bool works, bool rekeys) noexcept {
  return choice == EngineChoice::Kernel ? works : choice == EngineChoice::Auto && works && rekeys;
}

}  // namespace

EnginePlan plan_engines(const EngineSupport& support, EngineChoice tx, EngineChoice rx) {
  EnginePlan plan;
  plan.user = user_engine(support, tx);
  bool all_rekey = true;
  for (const Cipher cipher : kCiphers) {
    const auto index = static_cast<std::size_t>(cipher);
    const KernelCipherSupport& kernel = support.kernel[index];
    plan.tx[index] = effective_user_engine(cipher, user_engine(support, tx));
    plan.rx[index] = effective_user_engine(cipher, user_engine(support, rx));
    if (!support.has_ulp) continue;
    if (takes_kernel(tx, kernel.tx, kernel.tx_rekey)) {
      plan.tx[index] = Engine::Kernel;
      plan.attach_ulp = true;
      all_rekey = all_rekey && kernel.tx_rekey;
    }
    if (takes_kernel(rx, kernel.rx, kernel.rx_rekey)) {
      plan.rx[index] = Engine::Kernel;
      plan.attach_ulp = true;
      all_rekey = all_rekey && kernel.rx_rekey;
    }
  }
  plan.kernel_rekey = plan.attach_ulp && all_rekey;
  return plan;
}

EnginePlan without_kernel(EnginePlan plan) noexcept {
  plan.tx.fill(plan.user);
  plan.rx.fill(plan.user);
  plan.attach_ulp = false;
  return plan;
}

}  // namespace culvert::tls
