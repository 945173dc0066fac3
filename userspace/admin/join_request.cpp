// SPDX-License-Identifier: Apache-2.0
// The body of POST /v1/pods; see json_view.hpp. The only JSON that the agent reads from its admin socket.
#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "admin/json_view.hpp"

namespace culvert::admin {
namespace {

constexpr std::size_t kTextBytesMax = 4'096;
constexpr std::size_t kAddressesMax = 16;
constexpr std::array<std::string_view, 7> kKeys{"netns",           "id",        "name",      "namespace",
                                                "service_account", "addresses", "answer_syn"};

Result<std::string> text(const nlohmann::json& body, const char* key) {
  const auto found = body.find(key);
  if (found == body.end()) return std::string();
  if (!found->is_string()) return fail(ErrorCode::InvalidArgument, "\"{}\" must be a string", key);
  auto value = found->get<std::string>();
  const bool is_clean = std::all_of(value.begin(), value.end(),
                                    [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
  if (!is_clean || value.size() > kTextBytesMax) {
    return fail(ErrorCode::InvalidArgument, "\"{}\" is too long or has control characters", key);
  }
  return value;
}

// The depth of the brackets: the parser below recurses, and only two levels mean anything.
bool is_nested_too_deep(std::string_view body) {
  int depth = 0;
  for (const char c : body) {
    if (c == '{' || c == '[') ++depth;
    if (depth > 8) return true;
    if (c == '}' || c == ']') --depth;
  }
  return false;
}

}  // namespace

Result<JoinRequest> parse_join(std::string_view body) {
  if (is_nested_too_deep(body)) return fail(ErrorCode::InvalidArgument, "the request is nested too deeply");
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_discarded()) return fail(ErrorCode::InvalidArgument, "the request is not valid JSON");
  if (!json.is_object()) return fail(ErrorCode::InvalidArgument, "the request must be a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return fail(ErrorCode::InvalidArgument,
                  "unknown key \"{}\"; known are netns, id, name, namespace, service_account, addresses, answer_syn",
                  key);
    }
  }
  JoinRequest request;
  request.netns_path = CV_TRY(text(json, "netns"));
  request.id = CV_TRY(text(json, "id"));
  request.name = CV_TRY(text(json, "name"));
  request.namespace_name = CV_TRY(text(json, "namespace"));
  request.service_account = CV_TRY(text(json, "service_account"));
  if (!request.netns_path.starts_with('/')) {
    return fail(ErrorCode::InvalidArgument,
                "\"netns\" must be the absolute path of a network namespace, such as /run/netns/NAME");
  }
  if (const std::string word = CV_TRY(text(json, "answer_syn")); !word.empty()) {
    request.answer_syn = parse_answer_syn(word);
    if (!request.answer_syn) {
      return fail(ErrorCode::InvalidArgument, "\"answer_syn\" is \"{}\"; at_once or after_connect is wanted", word);
    }
  }
  const auto addresses = json.find("addresses");
  if (addresses == json.end()) return request;
  if (!addresses->is_array() || addresses->size() > kAddressesMax) {
    return fail(ErrorCode::InvalidArgument, "\"addresses\" must be an array of at most {} strings", kAddressesMax);
  }
  for (const auto& one : *addresses) {
    if (!one.is_string()) return fail(ErrorCode::InvalidArgument, "\"addresses\" must hold strings");
    request.addresses.push_back(CV_TRY(IpAddress::parse(one.get_ref<const std::string&>())));
  }
  return request;
}

}  // namespace culvert::admin
