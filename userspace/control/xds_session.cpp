// SPDX-License-Identifier: Apache-2.0
#include "control/xds_session.hpp"

#include "control/xds_decode.hpp"

namespace culvert::control {
namespace {

// "NAMESPACE/NAME" in halves; the name may have slashes.
std::pair<std::string_view, std::string_view> halves(std::string_view name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return {{}, name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

}  // namespace

XdsRequest XdsSession::first(std::string_view url, const Type& type, bool has_wildcard) const {
  XdsRequest request;
  request.type_url = url;
  request.has_node = true;
  if (!has_wildcard) {
    // Subscribed to nothing: not the same as an empty list, which means everything.
    request.subscribe.emplace_back("*");
    request.unsubscribe.emplace_back("*");
  }
  request.initial_versions.reserve(type.versions.size());
  for (const auto& [name, version] : type.versions) {
    request.initial_versions.emplace_back(name, version);
    if (!has_wildcard) request.subscribe.push_back(name);
  }
  return request;
}

std::vector<XdsRequest> XdsSession::begin() {
  addresses_.error.clear();
  authorizations_.error.clear();
  std::vector<XdsRequest> requests;
  requests.push_back(first(kAddressType, addresses_, !is_on_demand_));
  requests.push_back(first(kAuthorizationType, authorizations_, true));
  return requests;
}

void XdsSession::remove(std::string_view url, const std::string& name) {
  const auto [namespace_name, rest] = halves(name);
  if (url == kAuthorizationType) {
    static_cast<void>(store_.remove_authorization(namespace_name, rest));
    authorizations_.versions.erase(name);
    return;
  }
  if (!store_.remove_workload(name)) static_cast<void>(store_.remove_service(namespace_name, rest));
  addresses_.versions.erase(name);
}

std::optional<XdsRequest> XdsSession::take(XdsUpdate update) {
  XdsRequest answer;
  answer.type_url = update.type_url;
  answer.nonce = update.nonce;
  const bool is_address = update.type_url == kAddressType;
  if (!is_address && update.type_url != kAuthorizationType) {
    return update.is_last ? std::optional(std::move(answer)) : std::nullopt;
  }
  Type& type = is_address ? addresses_ : authorizations_;
  for (const std::string& name : update.removed) remove(update.type_url, name);
  for (XdsUpdate::Resource& resource : update.resources) {
    std::visit([this](auto& value) { store_.upsert(std::move(value)); }, resource.value);
    type.versions.insert_or_assign(std::move(resource.name), std::move(resource.version));
  }
  for (const XdsUpdate::Rejected& one : update.rejected) {
    if (type.error.size() > kErrorBytesMax) break;
    if (!type.error.empty()) type.error += "; ";
    type.error += one.name + ": " + one.reason;
  }
  if (!update.is_last) return std::nullopt;
  answer.error = std::exchange(type.error, {});
  type.is_warm = type.is_warm || answer.error.empty();
  return answer;
}

std::optional<XdsRequest> XdsSession::want(const std::string& name) {
  if (!is_on_demand_ || !addresses_.versions.try_emplace(name).second) return std::nullopt;
  XdsRequest request;
  request.type_url = kAddressType;
  request.subscribe.push_back(name);
  return request;
}

}  // namespace culvert::control
