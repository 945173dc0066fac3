// SPDX-License-Identifier: Apache-2.0
// deps: culvert::control
// The configuration parser: no text may end the process, and what is accepted makes a snapshot and survives a comparison with
// itself.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/config.hpp"
#include "control/config_fields.hpp"
#include "control/snapshot_build.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace culvert;
  const auto config = control::parse_config(as_text({data, size}), "fuzz.yaml");
  if (!config) {
    if (config.error().message().empty()) std::abort();
    return 0;
  }
  if (!control::build_snapshot(*config, {}, 1)) std::abort();
  if (!control::restart_keys(*config, *config).empty()) std::abort();
  if (control::effective_config(*config, *config) != *config) std::abort();
  return 0;
}
