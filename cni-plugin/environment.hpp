// SPDX-License-Identifier: Apache-2.0
// The CNI_* variables, checked as the specification wants them for each command. Pure: variables come in by a function.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>

#include "cni_result.hpp"

namespace culvert::cni_plugin {

enum class Command : std::uint8_t { Add, Del, Check, Gc, Status, Version };

struct Environment {
  Command command = Command::Version;
  std::string container_id;
  std::string ifname;
  std::string netns_path;  // may be empty for DEL
  // From CNI_ARGS; empty when absent.
  std::string pod_name;
  std::string pod_namespace;
  std::string pod_service_account;
};

// Gives a variable's value, or null.
using GetVariable = std::function<const char*(const char* name)>;
[[nodiscard]] std::expected<Environment, CniError> read_environment(const GetVariable& get);

}  // namespace culvert::cni_plugin
