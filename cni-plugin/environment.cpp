// SPDX-License-Identifier: Apache-2.0
#include "environment.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "culvert/cni/messages.hpp"

namespace culvert::cni_plugin {
namespace {

constexpr std::size_t kIfnameBytesMax = 15;
constexpr std::array<std::pair<std::string_view, Command>, 6> kCommands = {{{"ADD", Command::Add},
                                                                            {"DEL", Command::Del},
                                                                            {"CHECK", Command::Check},
                                                                            {"GC", Command::Gc},
                                                                            {"STATUS", Command::Status},
                                                                            {"VERSION", Command::Version}}};

std::unexpected<CniError> invalid(std::string message, std::string details = "") {
  return std::unexpected(CniError{CniErrorCode::InvalidEnvironment, std::move(message), std::move(details)});
}

bool is_valid_ifname(std::string_view name) noexcept {
  const auto is_forbidden = [](char byte) {
    return byte == '/' || byte == ':' || byte == ' ' || (byte >= '\t' && byte <= '\r');
  };
  return !name.empty() && name.size() <= kIfnameBytesMax && name != "." && name != ".." &&
         std::ranges::none_of(name, is_forbidden);
}

// KEY=VALUE;KEY=VALUE. Keys that are not ours are the business of other plugins.
std::expected<void, CniError> read_args(std::string_view args, Environment& environment) {
  while (!args.empty()) {
    const auto end = args.find(';');
    const std::string_view pair = args.substr(0, end);
    args = end == std::string_view::npos ? std::string_view() : args.substr(end + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos)
      return invalid("CNI_ARGS is malformed", fmt::format("\"{}\" is not KEY=VALUE", pair));
    const std::string_view key = pair.substr(0, equals);
    const std::string_view value = pair.substr(equals + 1);
    std::string* target = nullptr;
    if (key == "K8S_POD_NAME") target = &environment.pod_name;
    if (key == "K8S_POD_NAMESPACE") target = &environment.pod_namespace;
    if (key == "K8S_POD_SERVICE_ACCOUNT") target = &environment.pod_service_account;
    if (target == nullptr) continue;
    if (!cni::is_valid_name(value))
      return invalid("CNI_ARGS is malformed", fmt::format("{}: \"{}\" is no name", key, value));
    *target = value;
  }
  return {};
}

}  // namespace

std::expected<Environment, CniError> read_environment(const GetVariable& get) {
  const auto text = [&get](const char* name) {
    const char* value = get(name);
    return std::string(value == nullptr ? "" : value);
  };
  Environment environment;
  const std::string word = text("CNI_COMMAND");
  const auto command =
      std::ranges::find(kCommands, std::string_view(word), &std::pair<std::string_view, Command>::first);
  if (word.empty())
    return invalid("CNI_COMMAND is not set", "culvert-cni is called by the container runtime, as a CNI plugin");
  if (command == kCommands.end()) return invalid(fmt::format("CNI_COMMAND \"{}\" is unknown", word));
  environment.command = command->second;
  const bool is_about_pod = environment.command == Command::Add || environment.command == Command::Del ||
                            environment.command == Command::Check;
  if (!is_about_pod) return environment;

  environment.container_id = text("CNI_CONTAINERID");
  environment.ifname = text("CNI_IFNAME");
  environment.netns_path = text("CNI_NETNS");
  if (!cni::is_valid_id(environment.container_id)) {
    return invalid(
        environment.container_id.empty() ? "CNI_CONTAINERID is not set" : "CNI_CONTAINERID is invalid",
        fmt::format("it must have 1 to {} letters, digits, '.', '_', '-', and no dot in front", cni::kIdBytesMax));
  }
  // A leave needs the container's id and nothing else; it must not fail for the rest.
  const auto args = read_args(text("CNI_ARGS"), environment);
  if (environment.command == Command::Del) return environment;
  if (!args) return std::unexpected(args.error());
  if (!is_valid_ifname(environment.ifname)) {
    return invalid(environment.ifname.empty() ? "CNI_IFNAME is not set" : "CNI_IFNAME is invalid");
  }
  const std::string& path = environment.netns_path;
  if (path.empty()) return invalid("CNI_NETNS is not set");
  if (path.front() != '/' || path.size() > cni::kPathBytesMax) return invalid("CNI_NETNS is not an absolute path");
  return environment;
}

}  // namespace culvert::cni_plugin
