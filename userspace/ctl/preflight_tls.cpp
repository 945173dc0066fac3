// SPDX-License-Identifier: Apache-2.0
// Preflight of TLS: real records through the kernel's record layer with each cipher, each way, over loopback. Nothing here is
// required: the user-space engines carry every cipher on every kernel.
#include <array>

#include <fmt/format.h>

#include "ctl/preflight.hpp"
#include "tls/engine_plan.hpp"

namespace culvert::ctl {
namespace {

constexpr std::array kCiphers{tls::Cipher::Aes128Gcm, tls::Cipher::Aes256Gcm, tls::Cipher::ChaCha20Poly1305};
constexpr std::array kIds{"ktls-aes-128-gcm", "ktls-aes-256-gcm", "ktls-chacha20-poly1305"};
constexpr std::array kTitles{"kernel TLS, AES-128-GCM", "kernel TLS, AES-256-GCM", "kernel TLS, ChaCha20-Poly1305"};

std::string direction(const char* name, bool works, bool rekeys) {
  return fmt::format("{} {}{}", name, works ? "yes" : "no", works ? rekeys ? ", rekey yes" : ", rekey no" : "");
}

Check cipher_check(std::size_t index, const tls::KernelCipherSupport& support) {
  Check check{.id = kIds[index],
              .title = kTitles[index],
              .verdict = Verdict::Ok,
              .found = direction("send", support.tx, support.tx_rekey) + "; " +
                       direction("receive", support.rx, support.rx_rekey),
              .remedy = {}};
  const bool works = support.tx && support.rx;
  if (works && support.tx_rekey && support.rx_rekey) return check;
  check.verdict = Verdict::Degraded;
  check.remedy =
      works ? "Keys cannot be replaced in the kernel (Linux 6.14 and newer can), so user space carries these records."
            : "User space carries these records.";
  if (!support.detail.empty()) check.remedy += " (" + support.detail + ")";
  return check;
}

}  // namespace

void probe_tls(Checks& checks) {
  const tls::EngineSupport support = tls::probe_engines();
  checks.push_back({.id = "tls-module",
                    .title = "kernel TLS",
                    .verdict = support.has_ulp ? Verdict::Ok : Verdict::Degraded,
                    .found = support.has_ulp ? "there" : "not there",
                    .remedy = support.has_ulp ? std::string()
                                              : fmt::format("User space carries all records. {}", support.ulp_detail)});
  if (support.has_ulp) {
    for (std::size_t i = 0; i < kCiphers.size(); ++i)
      checks.push_back(cipher_check(i, support.kernel[static_cast<std::size_t>(kCiphers[i])]));
  }
  checks.push_back({.id = "ipsec-mb",
                    .title = "vector AES in user space",
                    .verdict = support.has_ipsec_mb ? Verdict::Ok : Verdict::Degraded,
                    .found = support.has_ipsec_mb ? "intel-ipsec-mb" : "OpenSSL only",
                    .remedy = support.has_ipsec_mb ? ""
                                                   : "Records cost two to four times the CPU; intel-ipsec-mb needs an "
                                                     "amd64 processor with AES-NI, and a build with it."});
}

}  // namespace culvert::ctl
