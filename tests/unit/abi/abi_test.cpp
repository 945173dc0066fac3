// SPDX-License-Identifier: Apache-2.0
// Keys and values are compared and hashed as bytes by the kernel: no padding, fixed sizes, the same in C and C++ (sizes are
// asserted in the headers, by both compilers).
#include <catch2/catch.hpp>

#include <cstddef>
#include <cstring>
#include <set>
#include <string>
#include <type_traits>

#include "culvert/abi/maps.h"

template <typename... Types>
constexpr bool kAllPlain = ((std::has_unique_object_representations_v<Types> && std::is_trivially_copyable_v<Types> &&
                             std::is_standard_layout_v<Types>) &&
                            ...);
static_assert(kAllPlain<cv_addr, cv_sock_state, cv_pod, cv_port_key, cv_cidr_key, cv_tuple, cv_pod_counters,
                        cv_abi_record, cv_pod_undo>);
static_assert(offsetof(cv_cidr_key, prefix_bits) == 0, "an LPM key begins with its length");
static_assert(CV_CIDR_FIXED_BITS == 8 * (offsetof(cv_cidr_key, addr) - sizeof(cv_cidr_key::prefix_bits)));
static_assert(CV_LISTENER_INDEX(CV_POD_SLOTS_MAX - 1, CV_LISTENER_INBOUND, CV_LISTENER_V6) == CV_LISTENERS_MAX - 1);

TEST_CASE("every counter has a name of its own and a help text") {
  std::set<std::string> names;
  std::size_t count = 0;
#define CV_SEE(enumerator, name, is_drop, help)                               \
  CHECK(CV_COUNTER_##enumerator == count);                                    \
  CHECK(names.insert(name).second);                                           \
  CHECK((std::strncmp(name, "drop_", 5) == 0) == static_cast<bool>(is_drop)); \
  CHECK(std::strlen(help) > 10);                                              \
  ++count;
  CV_COUNTER_LIST(CV_SEE)
#undef CV_SEE
  CHECK(count == CV_COUNTERS);
}

TEST_CASE("every listener of every slot has an index of its own") {
  std::set<unsigned> seen;
  for (unsigned slot = 0; slot < CV_POD_SLOTS_MAX; ++slot)
    for (const unsigned role : {CV_LISTENER_OUTBOUND, CV_LISTENER_INBOUND})
      for (const unsigned family : {CV_LISTENER_V4, CV_LISTENER_V6}) {
        const unsigned index = CV_LISTENER_INDEX(slot, role, family);
        CHECK(index < CV_LISTENERS_MAX);
        seen.insert(index);
      }
  CHECK(seen.size() == CV_LISTENERS_MAX);
}
