// SPDX-License-Identifier: Apache-2.0
#include "net_config.hpp"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "enroll/json_fields.hpp"
#include "raw_json.hpp"

namespace culvert::cni_plugin {
namespace {

using enroll::Fields;
using enroll::Need;
using nlohmann::json;

constexpr std::size_t kNamespacesMax = 4096;
constexpr std::size_t kArrayMax = 1'000'000;
constexpr std::string_view kAssumedVersion =
    "0.1.0";  // of a configuration without "cniVersion", as the specification's libraries do
constexpr std::array<std::string_view, 3> kPolicies = {"ask", "all", "none"};

std::unexpected<CniError> invalid(std::string details) {
  return std::unexpected(CniError{CniErrorCode::InvalidConfig, "invalid network configuration", std::move(details)});
}

// Network names may not be paths or options of anything.
bool is_valid_network(std::string_view name) noexcept {
  const auto is_letter = [](char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
  };
  return !name.empty() && is_letter(name.front()) && cni::is_valid_name(name);
}

std::string path_field(Fields& fields, const char* key, std::string otherwise) {
  std::string path = fields.text(key, cni::kPathBytesMax, Need::Optional);
  if (path.empty()) return otherwise;
  if (path.front() != '/') fields.wrong(key, "an absolute path");
  return path;
}

std::string name_field(Fields& fields, const char* key, std::string otherwise) {
  std::string name = fields.text(key, cni::kNameBytesMax, Need::Optional);
  if (!cni::is_valid_name(name)) fields.wrong(key, "a name of letters, digits, '.', '_', '-'");
  return name.empty() ? otherwise : name;
}

void read_own_keys(Fields& fields, NetConfig& config) {
  config.agent_socket = path_field(fields, "agent_socket", std::move(config.agent_socket));
  config.state_dir = path_field(fields, "state_dir", std::move(config.state_dir));
  config.default_service_account =
      name_field(fields, "default_service_account", std::move(config.default_service_account));
  config.exclude_namespaces = fields.texts("exclude_namespaces", kNamespacesMax, cni::kNameBytesMax, Need::Optional);
  config.agent_wait_ms = fields.number("agent_wait_ms", kAgentWaitMsMax, Need::Optional, config.agent_wait_ms);
  const std::string policy = fields.text("enrol", 16, Need::Optional);
  if (policy.empty()) return;
  const auto place = std::ranges::find(kPolicies, std::string_view(policy));
  if (place == kPolicies.end()) return fields.wrong("enrol", "\"ask\", \"all\" or \"none\"");
  config.enrol = static_cast<EnrolPolicy>(place - kPolicies.begin());
}

void read_args(Fields& fields, NetConfig& config) {
  const json* args = fields.object("args", Need::Optional);
  if (args == nullptr || !args->contains("cni") || !args->at("cni").is_object() || !args->at("cni").contains("culvert"))
    return;
  Fields pod(args->at("cni").at("culvert"), "args.cni.culvert");
  config.args_pod.name = name_field(pod, "name", "");
  config.args_pod.namespace_name = name_field(pod, "namespace", "");
  config.args_pod.service_account = name_field(pod, "service_account", "");
  if (const auto finished = pod.finish(ErrorCode::InvalidArgument); !finished) fields.error(finished.error().message());
}

// Whether an entry of prevResult.ips belongs to an interface inside the pod. Without an interface it does; an interface without a
// sandbox is the host's end.
bool is_of_pod(const json& ip, const json& result) {
  const auto index = ip.find("interface");
  const auto interfaces = result.find("interfaces");
  if (index == ip.end() || !index->is_number_unsigned() || interfaces == result.end() || !interfaces->is_array())
    return true;
  const auto number = index->get<std::size_t>();
  if (number >= interfaces->size() || !(*interfaces)[number].is_object()) return true;
  const auto sandbox = (*interfaces)[number].find("sandbox");
  return sandbox != (*interfaces)[number].end() && sandbox->is_string() &&
         !sandbox->get_ref<const std::string&>().empty();
}

void read_prev_result(Fields& fields, std::string_view text, NetConfig& config) {
  const json* result = fields.object("prevResult", Need::Optional);
  if (result == nullptr) return;
  if (const auto raw = raw_member(text, "prevResult")) config.prev_result = std::string(*raw);
  Fields members(*result, "prevResult");
  const json* ips = members.array("ips", kArrayMax, Need::Optional);
  for (const json& ip : ips == nullptr ? json::array() : *ips) {
    Fields entry(ip, "prevResult.ips");
    const std::string text_of_ip = entry.text("address", 64);
    const auto address = IpAddress::parse(std::string_view(text_of_ip).substr(0, text_of_ip.find('/')));
    if (!entry.ok()) members.error("an entry of prevResult.ips has no \"address\"");
    if (!members.ok()) break;
    if (!address) {
      members.error(address.error().message());
    } else if (is_of_pod(ip, *result)) {
      config.addresses.push_back(*address);
    }
  }
  if (config.addresses.size() > cni::kAddressesMax) {
    members.error(fmt::format("the pod has {} addresses in prevResult; at most {} are taken", config.addresses.size(),
                              cni::kAddressesMax));
  }
  if (const auto finished = members.finish(ErrorCode::InvalidArgument); !finished)
    fields.error(finished.error().message());
}

void read_valid_attachments(Fields& fields, NetConfig& config) {
  constexpr const char* kKey = "cni.dev/valid-attachments";
  const json* attachments = fields.array(kKey, kArrayMax, Need::Optional);
  if (attachments == nullptr) return;
  std::vector<std::string> ids;
  for (const json& attachment : *attachments) {
    Fields entry(attachment, kKey);
    ids.push_back(entry.text("containerID", cni::kIdBytesMax));
    if (const auto finished = entry.finish(ErrorCode::InvalidArgument); !finished)
      return fields.error(finished.error().message());
  }
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  config.valid_ids = std::move(ids);
}

}  // namespace

std::string peek_version(std::string_view text) {
  const json document = json::parse(text.substr(0, kConfigBytesMax), nullptr, false);
  if (!document.is_object()) return "";
  const auto version = document.find("cniVersion");
  return version != document.end() && version->is_string() ? version->get<std::string>() : "";
}

std::expected<NetConfig, CniError> parse_config(std::string_view text, Command command) {
  if (text.size() > kConfigBytesMax) return invalid(fmt::format("it has more than {} bytes", kConfigBytesMax));
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded()) {
    return std::unexpected(
        CniError{CniErrorCode::DecodingFailure, "cannot decode the network configuration", "stdin is not JSON"});
  }
  Fields fields(document, "the network configuration");
  NetConfig config;
  config.cni_version = fields.text("cniVersion", 32, Need::Optional);
  if (config.cni_version.empty()) config.cni_version = kAssumedVersion;
  if (fields.ok() && !is_supported(config.cni_version)) {
    return std::unexpected(CniError{CniErrorCode::IncompatibleVersion, "incompatible CNI version",
                                    fmt::format("the configuration is in version {}, culvert-cni knows {}",
                                                config.cni_version, fmt::join(kSupportedVersions, ", "))});
  }
  config.name = fields.text("name", cni::kNameBytesMax);
  if (!is_valid_network(config.name)) {
    fields.wrong("name", "a network's name: letters, digits, '.', '_', '-', beginning with a letter or digit");
  }
  read_own_keys(fields, config);
  read_args(fields, config);
  if (command == Command::Add || command == Command::Check) read_prev_result(fields, text, config);
  if (command == Command::Gc) read_valid_attachments(fields, config);
  if (const auto finished = fields.finish(ErrorCode::InvalidArgument); !finished)
    return invalid(finished.error().message());
  return config;
}

}  // namespace culvert::cni_plugin
