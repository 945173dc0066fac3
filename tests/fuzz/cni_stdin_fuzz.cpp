// SPDX-License-Identifier: Apache-2.0
// What a runtime gives the CNI plugin: the configuration on stdin for each command, and CNI_ARGS. What is accepted keeps its limits, and
// prevResult comes back as the text that a parser reads the same value from.
// deps: culvert::cni_plugin
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "environment.hpp"
#include "net_config.hpp"
#include "raw_json.hpp"

namespace {

using namespace culvert::cni_plugin;

void require(bool is_true) {
  if (!is_true) std::abort();
}

void check_config(const NetConfig& config, std::string_view text, Command command) {
  require(is_supported(config.cni_version));
  require(!config.name.empty());
  require(config.agent_socket.starts_with('/') && config.state_dir.starts_with('/'));
  require(config.agent_wait_ms <= kAgentWaitMsMax);
  require(config.addresses.size() <= culvert::cni::kAddressesMax);
  require(command == Command::Gc || !config.valid_ids);
  if (!config.prev_result) return;
  const auto raw = nlohmann::json::parse(*config.prev_result, nullptr, false);
  require(raw == nlohmann::json::parse(text).at("prevResult"));
  require(text.find(*config.prev_result) != std::string_view::npos);
}

void check_environment(std::string_view args) {
  const std::string copy(args);
  const auto environment = read_environment([&copy](const char* name) -> const char* {
    const std::string_view variable(name);
    if (variable == "CNI_COMMAND") return "ADD";
    if (variable == "CNI_ARGS") return copy.c_str();
    return variable == "CNI_NETNS" ? "/x" : "eth0";
  });
  if (environment) require(culvert::cni::is_valid_name(environment->pod_name));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const Command command : {Command::Add, Command::Del, Command::Check, Command::Gc, Command::Status}) {
    const auto config = parse_config(text, command);
    if (config) check_config(*config, text, command);
    if (!config) require(error_output(config.error(), peek_version(text)).exit_code == 1);
  }
  (void)raw_member(text, "prevResult");  // must also end on what is no JSON
  check_environment(text);
  return 0;
}
