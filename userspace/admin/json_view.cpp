// SPDX-License-Identifier: Apache-2.0
// JSON of the admin socket; see json_view.hpp.
#include "admin/json_view.hpp"

#include <algorithm>

#include "admin/json_writer.hpp"

namespace culvert::admin {
namespace {

// One top-level object around what `write` puts into it.
template <typename Write>
std::string object(Write&& write) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  write(json);
  json.end_object();
  out += '\n';
  return out;
}

// {"NAME": [ ... ]}
template <typename Items, typename Write>
std::string list(std::string_view name, const Items& items, Write&& write) {
  return object([&](JsonWriter& json) {
    json.key(name).begin_array();
    for (const auto& item : items) {
      json.begin_object();
      write(json, item);
      json.end_object();
    }
    json.end_array();
  });
}

void write_addresses(JsonWriter& json, const std::vector<IpAddress>& addresses) {
  json.key("addresses").begin_array();
  for (const IpAddress& address : addresses) json.value(address.to_string());
  json.end_array();
}

void write_pod(JsonWriter& json, const Pod& pod) {
  json.field("id", pod.id)
      .field("name", pod.name)
      .field("namespace", pod.namespace_name)
      .field("service_account", pod.service_account)
      .field("identity", pod.identity)
      .field("netns", pod.netns_path);
  write_addresses(json, pod.addresses);
  json.field("slot", pod.slot).field("state", pod.state).field("detail", pod.detail);
}

void write_party(JsonWriter& json, std::string_view name, const telemetry::Party& party) {
  json.key(name)
      .begin_object()
      .field("address", party.address.to_string())
      .field("workload", party.workload)
      .field("namespace", party.namespace_name)
      .field("identity", party.identity)
      .field("cluster", party.cluster)
      .end_object();
}

void write_connection(JsonWriter& json, const telemetry::ConnectionLog& connection, std::uint64_t now_us) {
  json.field("id", connection.id)
      .field("direction", telemetry::to_string(connection.direction))
      .field("transport", telemetry::to_string(connection.transport))
      .field("state", connection.state)
      .field("pod", connection.pod);
  write_party(json, "source", connection.source);
  write_party(json, "destination", connection.destination);
  json.field("original_destination", connection.original_destination.to_string())
      .field("authority", connection.authority)
      .field("service", connection.service)
      .field("why", connection.why)
      .field("cipher", connection.cipher)
      .field("tx_engine", connection.tx_engine)
      .field("rx_engine", connection.rx_engine)
      .field("bytes_sent", connection.bytes_sent)
      .field("bytes_received", connection.bytes_received)
      .field("start_us", connection.start_us)
      .field("age_ms", now_us > connection.start_us ? (now_us - connection.start_us) / 1'000 : 0);
}

void write_revocation(JsonWriter& json, const Revocation& revocation) {
  json.key("revocation")
      .begin_object()
      .field("path", revocation.path)
      .field("fail_closed", revocation.fails_closed)
      .field("error", revocation.error);
  json.key("lists").begin_array();
  for (const RevocationList& list : revocation.lists) {
    json.begin_object()
        .field("issuer", list.issuer)
        .field("entries", list.entries)
        .field("this_update_s", list.this_update_s)
        .field("next_update_s", list.next_update_s)
        .field("state", list.state)
        .end_object();
  }
  json.end_array().end_object();
}

}  // namespace

std::string json_status(const Status& status, std::span<const std::string> pending, std::uint64_t now_us) {
  return object([&](JsonWriter& json) {
    json.field("version", status.version)
        .field("state", status.state)
        .field("node", status.node)
        .field("cluster", status.cluster)
        .field("network", status.network)
        .field("trust_domain", status.trust_domain)
        .field("config", status.config_path)
        .field("pid", status.process_id)
        .field("start_us", status.start_us)
        .field("uptime_ms", now_us > status.start_us ? (now_us - status.start_us) / 1'000 : 0)
        .field("workers", status.workers)
        .field("snapshot_version", status.snapshot_version)
        .field("pods", status.pods)
        .field("workloads", status.workloads);
    json.key("connections")
        .begin_object()
        .field("inbound", status.connections_inbound)
        .field("outbound", status.connections_outbound)
        .end_object();
    json.key("tunnels")
        .begin_object()
        .field("open", status.tunnels_open)
        .field("idle", status.tunnels_idle)
        .end_object();
    json.key("capture")
        .begin_object()
        .field("steering", status.steering)
        .field("attachment", status.attachment)
        .field("lo_segment_bytes_v4", status.lo_segment_bytes_v4)
        .field("lo_segment_bytes_v6", status.lo_segment_bytes_v6)
        .end_object();
    json.key("engines").begin_array();
    for (const CipherEngines& engines : status.engines) {
      json.begin_object().field("cipher", engines.cipher).field("tx", engines.tx).field("rx", engines.rx).end_object();
    }
    json.end_array();
    if (!status.revocation.path.empty()) write_revocation(json, status.revocation);
    json.texts("pending", pending);
    json.texts("notes", status.notes);
  });
}

std::string json_pods(std::span<const Pod> pods) { return list("pods", pods, write_pod); }

std::string json_pod(const Pod& pod) {
  return object([&](JsonWriter& json) { write_pod(json, pod); });
}

std::string json_workloads(std::span<const Workload> workloads) {
  return list("workloads", workloads, [](JsonWriter& json, const Workload& workload) {
    json.field("uid", workload.uid)
        .field("name", workload.name)
        .field("namespace", workload.namespace_name)
        .field("identity", workload.identity)
        .field("node", workload.node)
        .field("network", workload.network)
        .field("cluster", workload.cluster)
        .field("protocol", workload.protocol)
        .field("peer_auth", workload.peer_auth);
    write_addresses(json, workload.addresses);
    json.field("hostname", workload.hostname).field("waypoint", workload.waypoint).field("health", workload.health);
  });
}

std::string json_services(std::span<const Service> services) {
  return list("services", services, [](JsonWriter& json, const Service& service) {
    json.field("name", service.name).field("namespace", service.namespace_name).field("hostname", service.hostname);
    json.texts("addresses", service.addresses);
    json.key("ports").begin_array();
    for (const ServicePort& port : service.ports) {
      json.begin_object().field("port", port.port).field("target_port", port.target_port).end_object();
    }
    json.end_array();
    json.key("endpoints").begin_array();
    for (const ServiceEndpoint& endpoint : service.endpoints) {
      json.begin_object().field("workload", endpoint.workload).field("state", endpoint.state).end_object();
    }
    json.end_array();
    json.field("waypoint", service.waypoint).field("mode", service.mode).field("visibility", service.visibility);
  });
}

std::string json_connections(std::span<const telemetry::ConnectionLog> connections, std::uint64_t now_us) {
  return object([&](JsonWriter& json) {
    json.field("total", connections.size());
    json.key("connections").begin_array();
    for (const auto& connection : connections.first(std::min(connections.size(), kConnectionsListedMax))) {
      json.begin_object();
      write_connection(json, connection, now_us);
      json.end_object();
    }
    json.end_array();
  });
}

std::string json_certificates(std::span<const Certificate> certificates) {
  return list("certificates", certificates, [](JsonWriter& json, const Certificate& certificate) {
    json.field("identity", certificate.identity)
        .field("state", certificate.state)
        .field("serial", certificate.serial_decimal)
        .field("not_before_s", certificate.not_before_s)
        .field("not_after_s", certificate.not_after_s)
        .field("rotates_at_s", certificate.rotates_at_s);
  });
}

std::string json_explanation(const Explanation& explanation) {
  return object([&](JsonWriter& json) {
    json.field("outcome", explanation.outcome).key("steps").begin_array();
    for (const ExplainStep& step : explanation.steps) {
      json.begin_object()
          .field("what", step.what)
          .field("result", step.result)
          .field("text", step.text)
          .field("decided_by", step.decided_by)
          .end_object();
    }
    json.end_array();
  });
}

std::string json_drops(std::span<const telemetry::PodCounters> pods) {
  return list("drops", pods, [](JsonWriter& json, const telemetry::PodCounters& pod) {
    json.field("id", pod.pod).field("name", pod.name).field("namespace", pod.namespace_name);
    json.key("counters").begin_array();
    for (const telemetry::NamedCount& count : pod.counters) {
      json.begin_object().field("name", count.name).field("help", count.help).field("value", count.value).end_object();
    }
    json.end_array();
  });
}

std::string json_error(std::string_view text) {
  return object([&](JsonWriter& json) { json.field("error", text); });
}

}  // namespace culvert::admin
