// SPDX-License-Identifier: Apache-2.0
// Catch2's main for the enroller over real programs: without root or a bpffs it is skipped aloud (CTest code 77).
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdio>

#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

int main(int argc, char** argv) {
  constexpr long kBpfFsMagic = 0xcafe4a11L;
  if (::geteuid() != 0) {
    std::fputs("SKIPPED: loading BPF programs and making network namespaces needs root\n", stderr);
    return 77;
  }
  struct statfs info{};
  const bool has_bpffs = ::statfs("/sys/fs/bpf", &info) == 0 && info.f_type == kBpfFsMagic;
  if (!has_bpffs && ::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr) != 0) {
    std::fputs("SKIPPED: no bpffs at /sys/fs/bpf and none can be mounted\n", stderr);
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
