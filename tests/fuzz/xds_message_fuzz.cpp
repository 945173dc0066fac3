// SPDX-License-Identifier: Apache-2.0
// deps: culvert::control culvert::state culvert::proto
// What comes from a control plane. The first byte says how the rest is read: an address, an authorization, or a whole response of either type,
// which goes through the session into a store whose snapshot is made. What is accepted is whole, and a response is answered once.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/assert.hpp"
#include "control/xds_decode.hpp"
#include "control/xds_messages.hpp"
#include "control/xds_session.hpp"
#include "proto/discovery.pb.h"
#include "state/store.hpp"

namespace {

using namespace culvert;

void check(const state::Workload& workload) {
  CV_ASSERT(!workload.uid.empty());
  CV_ASSERT(!workload.identity.to_string().empty());
  const auto name = [](const state::ServiceMembership& one) { return std::pair(one.namespace_name, one.hostname); };
  CV_ASSERT(std::ranges::is_sorted(workload.services, {}, name));
}

void check(const state::WorkloadEntry& workload) {
  CV_ASSERT(!workload.uid().empty());
  CV_ASSERT(!workload.identity().to_string().empty());
  const auto name = [](const state::ServiceMembership& one) { return std::pair(one.namespace_name, one.hostname); };
  CV_ASSERT(std::ranges::is_sorted(workload.services(), {}, name));
}

void check(const state::Service& service) {
  CV_ASSERT(!service.hostname.empty());
  for (const state::NetworkAddress& vip : service.vips) {
    CV_ASSERT(vip.prefix_bits == state::NetworkAddress::kWhole || vip.prefix_bits < (vip.address.is_v4() ? 32 : 128));
  }
}

void read_response(ByteView bytes, std::string_view type_url) {
  envoy::service::discovery::v3::DeltaDiscoveryResponse response;
  if (!response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  response.set_type_url(std::string(type_url));
  // Resources of the right type are the rule; a wrong one stays wrong.
  for (auto& resource : *response.mutable_resources()) {
    if (resource.resource().type_url().empty()) resource.mutable_resource()->set_type_url(std::string(type_url));
  }
  const auto resources = static_cast<std::size_t>(response.resources_size());
  state::Store store("network-1");
  store.set_node("node-a");
  control::XdsSession session(store, false);
  CV_ASSERT(session.begin().size() == 2);
  // Twice: the second time everything is known, and what the first removed comes again.
  for (int round = 0; round < 2; ++round) {
    envoy::service::discovery::v3::DeltaDiscoveryResponse copy = response;
    int answers = 0;
    control::for_each_piece(copy, [&](control::XdsUpdate update) {
      if (const auto answer = session.take(std::move(update))) {
        ++answers;
        CV_ASSERT(answer->nonce == response.nonce() && answer->type_url == type_url);
        CV_ASSERT(answer->error.size() <= control::XdsSession::kErrorBytesMax);
      }
      return true;
    });
    CV_ASSERT(answers == 1);
    const auto snapshot = store.publish();
    CV_ASSERT(snapshot->workload_count() + snapshot->service_count() <= resources);
    snapshot->for_each_workload([](const state::WorkloadEntry& workload) { check(workload); });
    snapshot->for_each_service([](const state::Service& service) { check(service); });
    static_cast<void>(store.take_identity_changes());
  }
  // The next stream says what it has, and the other side takes all of it away.
  control::XdsUpdate removal;
  removal.type_url = type_url;
  for (const control::XdsRequest& request : session.begin()) {
    if (request.type_url != type_url) continue;
    for (const auto& [name, version] : request.initial_versions) removal.removed.push_back(name);
  }
  CV_ASSERT(session.take(std::move(removal)));
  for (const control::XdsRequest& request : session.begin()) {
    CV_ASSERT(request.type_url != type_url || request.initial_versions.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView rest{data + 1, size - 1};
  switch (data[0] % 4) {
    case 0:
      if (const auto made = control::decode_address(rest)) std::visit([](const auto& one) { check(one); }, *made);
      break;
    case 1: static_cast<void>(control::decode_authorization(rest)); break;
    case 2: read_response(rest, control::kAddressType); break;
    default: read_response(rest, control::kAuthorizationType); break;
  }
  return 0;
}
