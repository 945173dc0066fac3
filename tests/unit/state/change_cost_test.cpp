// SPDX-License-Identifier: Apache-2.0
// What a change costs: the bytes that it allocates, in meshes of two sizes. Time would say the same less surely.
#include <atomic>
#include <cstdlib>
#include <new>

#include "mesh.hpp"
#include "state/store.hpp"

namespace {
std::atomic<std::size_t> allocated = 0;  // since the start, of all threads; others have ended when it is read
}  // namespace

#ifdef __SANITIZE_ADDRESS__
// The sanitizer's own operators are not to be replaced. Its header is not installed everywhere.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocates)(const volatile void*, std::size_t),
                                                         void (*frees)(const volatile void*));
namespace {
[[maybe_unused]] const int hooked = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void* /*memory*/, std::size_t bytes) { allocated += bytes; },
    [](const volatile void* /*memory*/) {});
}  // namespace
#else
// Not inlined: the compiler would see free() of what `new` gave, and say so.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  allocated += bytes;
  if (void* made = std::malloc(bytes == 0 ? 1 : bytes)) return made;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
#endif

namespace culvert::state {
namespace {

Authorization policy(std::uint32_t i) {
  Authorization made;
  made.name = fmt::format("p{}", i);
  made.namespace_name = fmt::format("n{}", i / 20);
  made.scope = PolicyScope::Namespace;
  return made;
}

Service ranged(std::uint32_t i) {
  Service made = service(fmt::format("s{}", i), {}, {{80, 8080}}, {});
  made.vips = {{{}, IpAddress::v4(in_addr{htonl(0x0a00'0000U + (i << 8U))}), 24}};
  return made;
}

// Of the change and the snapshot after it, while the one before it is still in use.
template <typename Change>
std::size_t cost(Store& store, Change&& change) {
  const auto before = store.publish();
  const std::size_t so_far = allocated;
  change();
  const auto after = store.publish();
  return allocated - so_far;
}

TEST_CASE("a change of policies or ranges costs by the change, whatever the size of the mesh") {
  std::size_t of_policies[2] = {};
  std::size_t of_ranges[2] = {};
  for (const std::uint32_t i : {0U, 1U}) {
    Store store;
    const std::uint32_t count = i == 0 ? 1'000 : 20'000;
    for (std::uint32_t k = 0; k < count; ++k) {
      store.upsert(policy(k));
      store.upsert(ranged(k));
    }
    of_policies[i] = cost(store, [&] {
      store.upsert(policy(7));
      CHECK(store.remove_authorization("n1", "p30"));
    });
    of_ranges[i] = cost(store, [&] {
      Service changed = ranged(7);
      changed.vips.front().prefix_bits = 25;
      store.upsert(changed);
    });
  }
  CAPTURE(of_policies[0], of_policies[1], of_ranges[0], of_ranges[1]);
  CHECK(of_policies[1] < 2 * of_policies[0]);
  CHECK(of_ranges[1] < 2 * of_ranges[0]);
}

}  // namespace
}  // namespace culvert::state
