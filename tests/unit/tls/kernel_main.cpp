// SPDX-License-Identifier: Apache-2.0
// The kernel TLS tests run in guests that have it, where CULVERT_KERNEL_TLS=required makes its absence a failure; elsewhere they are
// skipped aloud with status 77.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdio>

#include <sys/utsname.h>

#include "kernel_support.hpp"
#include "tls/engine_plan.hpp"

int main(int argc, char** argv) {
  const culvert::tls::EngineSupport support = culvert::tls::probe_engines();
  utsname system{};
  ::uname(&system);
  if (!support.has_ulp) {
    const bool is_required = culvert::tls::test::is_kernel_tls_required();
    std::printf("%s: kernel %s: %s\n", is_required ? "kernel TLS has to be there" : "skipped", system.release,
                support.ulp_detail.c_str());
    return is_required ? 1 : 77;
  }
  for (std::size_t i = 0; i < support.kernel.size(); ++i) {
    const auto& one = support.kernel[i];
    std::printf("kernel %s, %s: tx %d rx %d tx_rekey %d rx_rekey %d %s\n", system.release,
                culvert::tls::to_string(static_cast<culvert::tls::Cipher>(i)).data(), one.tx, one.rx, one.tx_rekey,
                one.rx_rekey, one.detail.c_str());
  }
  std::fflush(stdout);
  return Catch::Session().run(argc, argv);
}
