// SPDX-License-Identifier: Apache-2.0
// Workloads, services and policies as objects of /config_dump, with the keys and words of ztunnel's, which `istioctl ztunnel-config`
// reads. Members with the value that ztunnel takes for granted are left out as it leaves them out. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "admin/json_writer.hpp"
#include "state/authorization.hpp"
#include "state/service.hpp"
#include "state/workload.hpp"
#include "state/workload_entry.hpp"

namespace culvert::admin {

// `own_network` is meant where an address names none.
void write_workload(JsonWriter& json, const state::WorkloadEntry& workload, std::string_view own_network);
// As LOCAL_XDS says it: its services are a map, which has the ports; no network is filled in.
void write_local_workload(JsonWriter& json, const state::Workload& workload);
// A service in three parts, since it may have very many endpoints: the object up to the beginning of its endpoints, each of these
// in turn, and the rest.
void begin_service(JsonWriter& json, const state::Service& service, std::string_view own_network);
// `ports` may be empty: not known.
void write_endpoint(JsonWriter& json, std::string_view workload_uid, std::span<const state::ServicePort> ports,
                    bool is_healthy);
// As LOCAL_XDS says it: whether the workload is healthy is said there.
void write_local_endpoint(JsonWriter& json, const state::ServiceEndpoint& endpoint);
void end_service(JsonWriter& json, const state::Service& service, std::string_view own_network);
void write_policy(JsonWriter& json, const state::Authorization& policy);

}  // namespace culvert::admin
