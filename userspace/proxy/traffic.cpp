// SPDX-License-Identifier: Apache-2.0
#include "proxy/traffic.hpp"

#include <functional>
#include <string>

namespace culvert::proxy {
namespace {

using telemetry::LabelText;
using telemetry::NewLabels;
using telemetry::Reporter;
using telemetry::SecurityPolicy;
using telemetry::TrafficKey;
using telemetry::TrafficParty;
using telemetry::TrafficSlot;
using telemetry::TrafficTable;

std::uint64_t hash_of(std::string_view text) noexcept { return std::hash<std::string_view>{}(text); }

TrafficParty party_of(const state::WorkloadEntry& workload) noexcept {
  return {.is_known = true,
          .workload = workload.workload_name(),
          .canonical_service = workload.canonical_name(),
          .canonical_revision = workload.canonical_revision(),
          .namespace_name = workload.namespace_name(),
          .principal = {},
          .app = workload.canonical_name(),
          .version = workload.canonical_revision(),
          .cluster = workload.cluster(),
          .region = workload.region(),
          .zone = workload.zone()};
}

// A pod of this node that the mesh does not tell of.
TrafficParty party_of(const WorkerState& state, const WorkerPod& pod) noexcept {
  if (pod.workload != nullptr) return party_of(*pod.workload);
  return {.is_known = true,
          .workload = pod.setup.name,
          .canonical_service = pod.setup.name,
          .canonical_revision = "latest",
          .namespace_name = pod.setup.namespace_name,
          .principal = {},
          .app = pod.setup.name,
          .version = "latest",
          .cluster = state.options.cluster,
          .region = {},
          .zone = {}};
}

// What a peer says of itself.
TrafficParty party_of(const hbone::Baggage& baggage) noexcept {
  return {.is_known = true,
          .workload = baggage.workload_name,
          .canonical_service = baggage.service,
          .canonical_revision = baggage.revision,
          .namespace_name = baggage.namespace_name,
          .principal = {},
          .app = baggage.workload_name,
          .version = baggage.revision,
          .cluster = baggage.cluster,
          .region = baggage.region,
          .zone = baggage.zone};
}

std::uint64_t key_of(const WorkerPod& pod) noexcept {
  if (pod.workload != nullptr) return pod.workload->name_hash();
  return telemetry::mix_hash(std::hash<SpiffeId>{}(pod.setup.identity), hash_of(pod.setup.name));
}

LabelText text_of(const state::Service* service) {
  if (service == nullptr) return telemetry::service_text({});
  return telemetry::service_text(
      {.hostname = service->hostname, .namespace_name = service->namespace_name, .name = service->name});
}

LabelText text_of_source(TrafficParty party, const SpiffeId* principal) {
  const std::string id = principal == nullptr ? std::string() : principal->to_string();
  party.principal = id;
  return telemetry::source_text(party);
}

LabelText text_of_destination(TrafficParty party, const SpiffeId* principal) {
  const std::string id = principal == nullptr ? std::string() : principal->to_string();
  party.principal = id;
  return telemetry::destination_text(party);
}

void put_under(WorkerState& state, Flow& flow, TrafficSlot& slot) noexcept {
  TrafficTable::hold(slot, state.now_ms);
  if (flow.traffic != nullptr) TrafficTable::let_go(*flow.traffic, state.now_ms);
  flow.traffic = &slot;
}

// `make` makes the labels of a key that is new.
template <typename Make>
void put_under(WorkerState& state, Flow& flow, const TrafficKey& key, Make&& make) {
  if (flow.is_counted) return;
  TrafficSlot* slot = state.traffic.find(key);
  put_under(state, flow, slot != nullptr ? *slot : state.traffic.intern(key, make()));
}

void note_told(Flow& flow, const hbone::Baggage& baggage) {
  const std::string_view name = baggage.workload_name.empty() ? baggage.service : baggage.workload_name;
  if (name.empty() && baggage.namespace_name.empty() && baggage.cluster.empty()) return;
  // Kept for as long as the connection lives: no more of it than a name may have (RFC 1035 section 2.3.4).
  const auto kept = [](std::string_view text) { return std::string(text.substr(0, 255)); };
  flow.need_details().told =
      std::make_unique<ToldParty>(ToldParty{kept(name), kept(baggage.namespace_name), kept(baggage.cluster)});
}

telemetry::Direction direction_of(const Flow& flow) noexcept {
  return flow.is_inbound() ? telemetry::Direction::Inbound : telemetry::Direction::Outbound;
}

}  // namespace

void label_outbound(WorkerState& state, Flow& flow, const WorkerPod& pod, const state::Route& route) {
  const state::RouteKind kind = route.kind == state::RouteKind::Resolve ? route.kind_resolved : route.kind;
  const bool is_gateway = kind == state::RouteKind::Gateway;
  const bool is_mutual = is_gateway || kind == state::RouteKind::Tunnel;
  const state::WorkloadEntry* destination = is_gateway ? nullptr : route.workload;
  // A name was looked up meanwhile: by the snapshot of that time it is labelled already.
  const state::WorkloadEntry* far_end =
      route.workload != nullptr ? route.workload : state.snapshot->find(flow.destination.address);
  if (far_end != nullptr) {
    if (auto shared = state.snapshot->share(*far_end)) flow.far_end = std::move(shared);
  }
  if (route.service != nullptr) flow.service = state.services.intern(route.service->hostname);
  TrafficKey key;
  key.source = key_of(pod);
  key.destination = destination == nullptr ? 0 : destination->name_hash();
  key.service = route.service == nullptr ? 0 : state::Snapshot::name_hash(*route.service);
  key.principal = is_mutual ? state.identities.intern(pod.setup.identity) : 0;
  key.policy = is_mutual ? SecurityPolicy::MutualTls : SecurityPolicy::Unknown;
  put_under(state, flow, key, [&]() -> NewLabels {
    return {.source = text_of_source(party_of(state, pod), is_mutual ? &pod.setup.identity : nullptr),
            .service = text_of(route.service),
            .destination = destination == nullptr
                               ? telemetry::destination_text({})
                               : text_of_destination(party_of(*destination), &destination->identity())};
  });
}

void label_far_end(WorkerState& state, Flow& flow, const hbone::Baggage& baggage) {
  note_told(flow, baggage);
  if (flow.traffic == nullptr) return;
  const telemetry::LabelSet& labels = flow.traffic->labels;
  const TrafficParty party = party_of(baggage);
  // Source and service are as they were decided: their text is the key.
  TrafficKey key;
  key.source = labels.source->hash;
  key.service = labels.service->hash;
  key.policy = SecurityPolicy::MutualTls;
  key.destination = flow.peer_identity;
  for (const std::string_view one : {party.workload, party.canonical_service, party.canonical_revision,
                                     party.namespace_name, party.cluster, party.region, party.zone}) {
    key.destination = telemetry::mix_hash(key.destination, hash_of(one));
  }
  put_under(state, flow, key, [&]() -> NewLabels {
    return {.source = *labels.source,
            .service = *labels.service,
            .destination = text_of_destination(party, state.identities.find(flow.peer_identity))};
  });
}

void label_inbound(WorkerState& state, Flow& flow, const WorkerPod& pod, std::string_view baggage,
                   std::string_view forwarded) {
  const state::Snapshot* snapshot = state.snapshot.get();
  const bool is_mutual = flow.role == FlowRole::InboundTunnel;
  const state::WorkloadEntry* source =
      snapshot == nullptr || flow.is_other_network ? nullptr : snapshot->find(flow.source.address);
  if (source != nullptr && flow.details != nullptr) flow.details->told.reset();
  if (source == nullptr && is_mutual && !baggage.empty()) note_told(flow, hbone::parse_baggage(baggage));
  const state::Service* service =
      snapshot == nullptr || pod.workload == nullptr
          ? nullptr
          : state::inbound_service(*snapshot, *pod.workload, hbone::forwarded_host(forwarded), flow.destination.port);
  if (source != nullptr) flow.far_end = snapshot->share(*source);
  if (service != nullptr) flow.service = state.services.intern(service->hostname);
  TrafficKey key;
  key.reporter = Reporter::Destination;
  key.source = source != nullptr ? source->name_hash() : is_mutual ? hash_of(baggage) : 0;
  key.destination = key_of(pod);
  key.service = service == nullptr ? 0 : state::Snapshot::name_hash(*service);
  key.principal = is_mutual ? flow.peer_identity : 0;
  key.policy = is_mutual ? SecurityPolicy::MutualTls : SecurityPolicy::Unknown;
  put_under(state, flow, key, [&]() -> NewLabels {
    TrafficParty party;
    if (source != nullptr) {
      party = party_of(*source);
    } else if (is_mutual) {
      party = party_of(hbone::parse_baggage(baggage));
    }
    return {.source = text_of_source(party, is_mutual ? state.identities.find(flow.peer_identity) : nullptr),
            .service = text_of(service),
            .destination = text_of_destination(
                party_of(state, pod), pod.workload != nullptr ? &pod.workload->identity() : &pod.setup.identity)};
  });
}

bool count_opened(Flow& flow) noexcept {
  if (flow.is_counted || flow.traffic == nullptr) return false;
  flow.is_counted = true;
  flow.traffic->opened.add();
  flow.traffic->received_bytes.add(flow.received_bytes);
  flow.traffic->sent_bytes.add(flow.sent_bytes);
  return true;
}

void count_closed(WorkerState& state, Flow& flow, telemetry::CloseReason reason) noexcept {
  if (flow.traffic == nullptr) return;
  if (!flow.is_inbound()) count_opened(flow);
  if (flow.is_counted) flow.traffic->closed[telemetry::response_flag_of(direction_of(flow), reason)].add();
  TrafficTable::let_go(*flow.traffic, state.now_ms);
  flow.traffic = nullptr;
  flow.is_counted = false;
}

void count_name_lookup(WorkerState& state, const WorkerPod& pod, std::string_view hostname) {
  TrafficKey key;
  key.kind = telemetry::LabelSet::Kind::NameLookup;
  key.source = key_of(pod);
  key.service = hash_of(hostname);
  key.principal = state.identities.intern(pod.setup.identity);
  TrafficSlot* slot = state.traffic.find(key);
  if (slot == nullptr) {
    slot = &state.traffic.intern(key, {.source = text_of_source(party_of(state, pod), &pod.setup.identity),
                                       .service = telemetry::hostname_text(hostname),
                                       .destination = {}});
  }
  slot->opened.add();
  slot->last_used_ms = state.now_ms;
}

}  // namespace culvert::proxy
