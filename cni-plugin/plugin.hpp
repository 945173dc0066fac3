// SPDX-License-Identifier: Apache-2.0
// The plugin: one command of the runtime in, one output out. It decides who must be asked; the agent does the work. What it promises: a
// pod that may be in the mesh never gets through without the agent's word, a pod that is certainly outside never needs the agent, and a
// DEL succeeds whatever is missing. docs/enrolment.md.
#pragma once

#include <string_view>

#include "cni_result.hpp"
#include "environment.hpp"

namespace culvert::cni_plugin {

// From the first byte of work to the answer; below the 5 s that a runtime is promised.
inline constexpr unsigned kAnswerWithinMs = 4'500;

[[nodiscard]] Output run(const GetVariable& get_variable, std::string_view config_text);

}  // namespace culvert::cni_plugin
