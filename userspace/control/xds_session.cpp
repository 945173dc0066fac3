// SPDX-License-Identifier: Apache-2.0
#include "control/xds_session.hpp"

#include <charconv>

#include "control/xds_decode.hpp"
#include "state/demand.hpp"

namespace culvert::control {
namespace {

// "NAMESPACE/NAME" in halves; the name may have slashes.
std::pair<std::string_view, std::string_view> halves(std::string_view name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return {{}, name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

// The text goes back in one message, and into the log: what is too long is cut, and what comes after that left out.
void add_error(std::string& text, const XdsUpdate::Rejected& one) {
  constexpr std::string_view kCut = "...";
  if (text.ends_with(kCut)) return;
  if (!text.empty()) text += "; ";
  text += one.name.substr(0, XdsSession::kErrorBytesMax);
  text += ": ";
  text += one.reason.substr(0, XdsSession::kErrorBytesMax);
  if (text.size() <= XdsSession::kErrorBytesMax) return;
  text.resize(XdsSession::kErrorBytesMax - kCut.size());
  // Not within a character: a message with half of one is refused whole.
  const auto byte = [&text] { return static_cast<unsigned char>(text.back()); };
  while ((byte() & 0xC0U) == 0x80U) text.pop_back();
  if (byte() >= 0xC0U) text.pop_back();
  text += kCut;
}
// istiod's versions: a number in hexadecimal, as short as it can be. Nothing for others.
std::optional<std::uint64_t> number_of(std::string_view version) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), number, 16);
  if (error != std::errc() || end != version.data() + version.size()) return std::nullopt;
  return fmt::format("{:x}", number) == version ? std::optional(number) : std::nullopt;
}
std::string text_of(std::uint64_t version) { return fmt::format("{:x}", version); }

bool has_version(const state::Authorization& /*policy*/) noexcept { return false; }
bool has_version(const auto& value) noexcept { return value.version.has_value(); }

}  // namespace

void keep_version(XdsUpdate::Resource& resource) {
  const auto keep = [&resource](auto& value) {
    value.version = resource.name == resource_name(value) ? number_of(resource.version) : std::nullopt;
  };
  if (auto* workload = std::get_if<state::Workload>(&resource.value)) keep(*workload);
  if (auto* service = std::get_if<state::Service>(&resource.value)) keep(*service);
}

XdsSession::XdsSession(state::Store& store, bool is_on_demand) : store_(store), is_on_demand_(is_on_demand) {
  if (is_on_demand) store.set_on_demand();
}

XdsRequest XdsSession::first(std::string_view url, const Type& type, bool has_wildcard) const {
  XdsRequest request;
  request.type_url = url;
  request.has_node = true;
  if (!has_wildcard) {
    // Subscribed to nothing: not the same as an empty list, which means everything.
    request.subscribe.emplace_back("*");
    request.unsubscribe.emplace_back("*");
  }
  const auto add = [&](std::string name, std::string version) {
    if (!has_wildcard) request.subscribe.push_back(name);
    request.initial_versions.emplace_back(std::move(name), std::move(version));
  };
  for (const auto& [name, version] : type.versions) add(name, version);
  if (url != kAddressType) return request;
  store_.now().for_each_workload([&](const state::WorkloadEntry& one) {
    if (const auto version = one.version()) add(std::string(one.uid()), text_of(*version));
  });
  store_.now().for_each_service([&](const state::Service& one) {
    if (one.version) add(resource_name(one), text_of(*one.version));
  });
  return request;
}

bool XdsSession::is_somebodys(std::string_view name) const {
  const auto wanted = state::parse_wanted(name);
  return wanted && state::is_known(store_.now(), *wanted);
}

bool XdsSession::is_in_store(std::string_view name) const {
  const state::WorkloadEntry* workload = store_.now().find_uid(name);
  if (workload != nullptr && workload->version()) return true;
  const auto [namespace_name, rest] = halves(name);
  const state::Service* service = store_.now().find_service(namespace_name, rest);
  return service != nullptr && service->version;
}

bool XdsSession::has_address(const std::string& name) const {
  return addresses_.versions.contains(name) || is_in_store(name);
}

std::vector<XdsRequest> XdsSession::begin() {
  for (Type* type : {&addresses_, &authorizations_}) {  // the stream says anew what this end does not have
    type->error.clear();
    type->missing.clear();
  }
  demands_.restart();
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

void XdsSession::answered(const std::string& name, bool is_name, std::uint64_t now_ms) {
  if (!demands_.contains(name)) return;
  const bool is_found = is_somebodys(name);
  store_.set_absent(name, !is_found);
  if (is_found) return demands_.set_found(name, !is_name);
  // Also what has come and has no such address of its own: a pod on the node's network.
  demands_.set_absent(name, now_ms);
}

bool XdsSession::knows_type(std::string_view url) noexcept { return url == kAddressType || url == kAuthorizationType; }

std::optional<XdsRequest> XdsSession::take(const XdsUpdate& update, std::uint64_t now_ms) {
  XdsRequest answer;
  answer.type_url = update.type_url;
  answer.nonce = update.nonce;
  const bool is_address = update.type_url == kAddressType;
  if (!knows_type(update.type_url)) {
    return update.is_last ? std::optional(std::move(answer)) : std::nullopt;
  }
  Type& type = is_address ? addresses_ : authorizations_;
  for (const std::string& name : update.removed) {
    type.missing.erase(name);
    remove(update.type_url, name);
    if (is_address) answered(name, true, now_ms);
  }
  for (const XdsUpdate::Resource& resource : update.resources) {
    type.missing.erase(resource.name);
    const bool is_kept = std::visit(
        [this](const auto& value) {
          store_.upsert(value);
          return has_version(value);
        },
        resource.value);
    if (is_kept) {
      type.versions.erase(resource.name);
    } else {
      type.versions.insert_or_assign(resource.name, resource.version);
    }
    if (!is_address || demands_.is_empty()) continue;
    answered(resource.name, true, now_ms);
    for (const std::string& alias : resource.aliases) answered(alias, false, now_ms);
  }
  for (const XdsUpdate::Rejected& one : update.rejected) {
    add_error(type.error, one);
    if (!type.is_warm) type.missing.insert(one.name);
  }
  if (!update.is_last) return std::nullopt;
  answer.error = std::exchange(type.error, {});
  type.is_warm = type.is_warm || type.missing.empty();
  return answer;
}

void XdsSession::want(const std::string& name, std::uint64_t now_ms) {
  if (!is_on_demand_ || is_somebodys(name)) return;
  std::vector<std::string> dropped;
  demands_.want(name, now_ms, dropped);
  for (const std::string& one : dropped) store_.set_absent(one, false);
}

bool XdsSession::expire(std::uint64_t now_ms, bool is_connected) {
  const std::size_t absent = store_.now().absent().size();
  for (const std::string& name : demands_.expire(now_ms, is_connected)) store_.set_absent(name, false);
  return store_.now().absent().size() != absent;
}

// istiod answers a request that wants nothing with the removal of everything that the client has: each wants something, which nobody has.
std::vector<XdsRequest> XdsSession::take_wishes() {
  std::vector<XdsRequest> requests;
  for (DemandTable::Changes& changes : demands_.take_changes()) {
    XdsRequest request;
    request.type_url = kAddressType;
    request.subscribe = std::move(changes.subscribe);
    request.unsubscribe = std::move(changes.unsubscribe);
    if (request.subscribe.empty()) request.subscribe.emplace_back(kNobody);
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace culvert::control
