// SPDX-License-Identifier: Apache-2.0
#include "control/xds_messages.hpp"

#include <google/protobuf/util/json_util.h>

#include "control/xds_decode.hpp"

namespace culvert::control {
namespace {

namespace pb = envoy::service::discovery::v3;

std::string_view or_else(const std::string& text, std::string_view otherwise) {
  return text.empty() ? otherwise : std::string_view(text);
}

// One resource, into `update`.
void decode(const pb::Resource& resource, XdsUpdate& update) {
  const std::string& bytes = resource.resource().value();
  const ByteView view{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  const auto reject = [&](const Error& error) { update.rejected.push_back({resource.name(), error.message()}); };
  const auto accept = [&](auto value) {
    update.resources.push_back({resource.name(), resource.version(), std::move(value)});
    update.resources.back().aliases.assign(resource.aliases().begin(), resource.aliases().end());
    keep_version(update.resources.back());
  };
  if (resource.resource().type_url() != update.type_url) {
    update.rejected.push_back({resource.name(), fmt::format("is of type {} in a response of type {}",
                                                            resource.resource().type_url(), update.type_url)});
  } else if (update.type_url == kAddressType) {
    auto decoded = decode_address(view);
    if (!decoded) return reject(decoded.error());
    std::visit(accept, std::move(*decoded));
  } else if (update.type_url == kAuthorizationType) {
    auto decoded = decode_authorization(view);
    if (!decoded) return reject(decoded.error());
    accept(std::move(*decoded));
  }
}

}  // namespace

pb::Node make_node(const ControlPlaneConfig& config, const std::string& node_name, const std::string& cluster) {
  pb::Node node;
  // The kind of proxy is part of the name, and istiod decides by it what it sends.
  node.set_id(fmt::format("ztunnel~{}~{}.{}~{}.svc.{}", or_else(config.instance_address, "1.1.1.1"), config.pod_name,
                          config.pod_namespace, config.pod_namespace, config.cluster_domain));
  auto& fields = *node.mutable_metadata()->mutable_fields();
  const auto set = [&](const std::string& name, const std::string& value) { fields[name].set_string_value(value); };
  set("NAME", config.pod_name);
  set("NAMESPACE", config.pod_namespace);
  set("INSTANCE_IPS", config.instance_address);
  set("NODE_NAME", node_name);
  set("CLUSTER_ID", cluster);
  for (const auto& [name, value] : config.metadata) set(name, value);
  for (const auto& [name, value] : config.metadata_json) {
    google::protobuf::Value parsed;
    if (google::protobuf::util::JsonStringToMessage(value, &parsed).ok()) fields[name] = std::move(parsed);
  }
  return node;
}

pb::DeltaDiscoveryRequest to_message(XdsRequest request, const pb::Node& node) {
  pb::DeltaDiscoveryRequest message;
  message.set_type_url(std::move(request.type_url));
  if (request.has_node) *message.mutable_node() = node;
  for (std::string& name : request.subscribe) message.add_resource_names_subscribe(std::move(name));
  for (std::string& name : request.unsubscribe) message.add_resource_names_unsubscribe(std::move(name));
  for (auto& [name, version] : request.initial_versions) {
    (*message.mutable_initial_resource_versions())[name] = std::move(version);
  }
  message.set_response_nonce(std::move(request.nonce));
  if (!request.error.empty()) message.mutable_error_detail()->set_message(std::move(request.error));
  return message;
}

void for_each_piece(pb::DeltaDiscoveryResponse& response, const std::function<bool(const XdsUpdate&)>& take) {
  const auto count = static_cast<std::size_t>(response.resources_size());
  std::size_t next = 0;
  do {
    XdsUpdate update;
    update.type_url = response.type_url();
    update.nonce = response.nonce();
    if (next == 0) update.removed.assign(response.removed_resources().begin(), response.removed_resources().end());
    const std::size_t end = std::min(count, next + kPieceResources);
    update.resources.reserve(end - next);
    for (; next < end; ++next) {
      pb::Resource& resource = *response.mutable_resources(static_cast<int>(next));
      decode(resource, update);
      std::string().swap(*resource.mutable_resource()->mutable_value());
    }
    update.is_last = next == count;
    if (!take(update)) return;
  } while (next < count);
}

}  // namespace culvert::control
