// SPDX-License-Identifier: Apache-2.0
// A network namespace of a test's own, made by a thread that leaves its old one. Without CAP_SYS_ADMIN the whole program is
// skipped aloud: it ends with 77, which CTest shows as skipped.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/netns.hpp"

namespace culvert::test {

[[noreturn]] inline void skip(const char* why) {
  std::fprintf(stderr, "SKIPPED: %s\n", why);
  std::_Exit(77);
}

// With lo up.
inline UniqueFd make_netns() {
  UniqueFd made;
  std::thread maker([&made] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return;
    if (auto current = open_current_netns()) made = std::move(*current);
  });
  maker.join();
  if (!made) skip("a network namespace cannot be made here; run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
  return made;
}

}  // namespace culvert::test
