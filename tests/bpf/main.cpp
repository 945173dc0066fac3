// SPDX-License-Identifier: Apache-2.0
// Catch2's main for tests that load programs: without root they are skipped aloud (CTest code 77).
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <cstdio>

int main(int argc, char** argv) {
  if (geteuid() != 0) {
    std::fputs("SKIPPED: loading BPF programs and making network namespaces needs root\n", stderr);
    return 77;
  }
  constexpr long kBpfFsMagic = 0xcafe4a11L;
  struct statfs info{};
  if (statfs("/sys/fs/bpf", &info) == 0 && info.f_type != kBpfFsMagic &&
      mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr) != 0) {
    std::fputs("SKIPPED: no bpffs at /sys/fs/bpf and none can be mounted\n", stderr);
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
