// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "base/clock.hpp"
#include "tls/aead.hpp"
#include "tls/engine_plan.hpp"

using namespace culvert;
using namespace culvert::tls;

namespace {

EngineSupport support(bool tx, bool rx, bool rekey) {
  EngineSupport made;
  made.has_ulp = true;
  made.has_ipsec_mb = has_ipsec_mb();
  for (KernelCipherSupport& one : made.kernel) one = {tx, rx, rekey && tx, rekey && rx, {}};
  return made;
}

constexpr std::size_t kAes = static_cast<std::size_t>(Cipher::Aes128Gcm);
constexpr std::size_t kChaCha = static_cast<std::size_t>(Cipher::ChaCha20Poly1305);

}  // namespace

TEST_CASE("by itself the kernel is taken only where it works and changes keys") {
  const EnginePlan full = plan_engines(support(true, true, true), EngineChoice::Auto, EngineChoice::Auto);
  CHECK(full.tx[kAes] == Engine::Kernel);
  CHECK(full.rx[kChaCha] == Engine::Kernel);
  CHECK(full.attach_ulp);
  CHECK(full.kernel_rekey);

  const EnginePlan old = plan_engines(support(true, true, false), EngineChoice::Auto, EngineChoice::Auto);
  CHECK(old.tx[kAes] != Engine::Kernel);
  CHECK_FALSE(old.attach_ulp);

  const EnginePlan half = plan_engines(support(true, false, true), EngineChoice::Auto, EngineChoice::Auto);
  CHECK(half.tx[kAes] == Engine::Kernel);
  CHECK(half.rx[kAes] != Engine::Kernel);
}

TEST_CASE("kernel is taken at its word where it works, and retired without rekey") {
  const EnginePlan plan = plan_engines(support(true, true, false), EngineChoice::Kernel, EngineChoice::User);
  CHECK(plan.tx[kAes] == Engine::Kernel);
  CHECK(plan.rx[kAes] != Engine::Kernel);
  CHECK(plan.attach_ulp);
  CHECK_FALSE(plan.kernel_rekey);
}

TEST_CASE("without kernel TLS everything is in user space, in the engine that was asked for") {
  EngineSupport none;
  none.has_ipsec_mb = has_ipsec_mb();
  const EnginePlan plan = plan_engines(none, EngineChoice::Kernel, EngineChoice::Auto);
  CHECK_FALSE(plan.attach_ulp);
  CHECK(plan.tx[kAes] == (has_ipsec_mb() ? Engine::UserIpsecMb : Engine::UserEvp));
  CHECK(plan.tx[kChaCha] == Engine::UserEvp);  // intel-ipsec-mb does AES-GCM here
  const EnginePlan evp = plan_engines(none, EngineChoice::UserEvp, EngineChoice::UserEvp);
  CHECK(evp.rx[kAes] == Engine::UserEvp);
  none.has_ipsec_mb = false;
  CHECK(plan_engines(none, EngineChoice::UserIpsecMb, EngineChoice::Auto).tx[kAes] == Engine::UserEvp);
}

TEST_CASE("the probe answers quickly and says why when there is no kernel TLS") {
  const std::uint64_t start_ms = monotonic_ms();
  const EngineSupport found = probe_engines();
  CHECK(monotonic_ms() - start_ms < 2000);
  CHECK(found.has_ipsec_mb == has_ipsec_mb());
  CHECK((found.has_ulp || !found.ulp_detail.empty()));
}
