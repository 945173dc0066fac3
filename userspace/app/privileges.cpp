// SPDX-License-Identifier: Apache-2.0
#include "app/privileges.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include <cap-ng.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace culvert::app {
namespace {

#ifndef CAP_BPF
#define CAP_PERFMON 38
#define CAP_BPF 39
#endif

constexpr std::array kKept = {CAP_NET_ADMIN, CAP_NET_RAW,      CAP_SYS_ADMIN, CAP_BPF,
                              CAP_PERFMON,   CAP_DAC_OVERRIDE, CAP_SYS_PTRACE};

Result<void> raise_descriptor_limit(std::uint32_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno(errno, "cannot read the limit of open files");
  limit.rlim_cur = wanted == 0 ? limit.rlim_max : std::min<rlim_t>(wanted, limit.rlim_max);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return fail_errno(errno, "cannot set the limit of open files to {}", limit.rlim_cur);
  }
  return {};
}

}  // namespace

int descriptors_for_connections(std::uint32_t workers) noexcept {
  constexpr rlim_t kOfControl = 192;      // metrics, CNI calls, the control plane, names, pipes
  constexpr rlim_t kOfJoinPerWorker = 8;  // a pod's listeners of both families and its namespace
  const rlim_t reserved = kOfControl + 2 * kOfJoinPerWorker * workers;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::numeric_limits<int>::max();
  const rlim_t end = limit.rlim_cur - std::min(reserved, limit.rlim_cur / 8);
  return static_cast<int>(std::min<rlim_t>(end, std::numeric_limits<int>::max()));
}

Result<void> drop_privileges(std::uint32_t open_files_wanted, std::vector<std::string>& missing) {
  if (auto raised = raise_descriptor_limit(open_files_wanted); !raised) return raised;
  const rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return fail_errno(errno, "cannot turn core dumps off");
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno(errno, "cannot make the process undumpable");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "cannot set no_new_privs");

  if (::capng_get_caps_process() != 0) return fail(ErrorCode::System, "cannot read the process's capabilities");
  std::vector<unsigned> kept;
  for (const int capability : kKept) {
    const auto number = static_cast<unsigned>(capability);
    if (::capng_have_capability(CAPNG_PERMITTED, number) != 0) {
      kept.push_back(number);
    } else {
      const char* name = ::capng_capability_to_name(number);
      missing.emplace_back(name == nullptr ? std::to_string(number) : name);
    }
  }
  ::capng_clear(CAPNG_SELECT_BOTH);
  for (const unsigned number : kept) {
    ::capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED), number);
  }
  // The bounding set needs CAP_SETPCAP; without it the process had few capabilities to begin with.
  if (::capng_apply(CAPNG_SELECT_BOTH) != 0 && ::capng_apply(CAPNG_SELECT_CAPS) != 0) {
    return fail(ErrorCode::PermissionDenied, "cannot drop capabilities");
  }
  return {};
}

}  // namespace culvert::app
