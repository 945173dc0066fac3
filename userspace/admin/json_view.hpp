// SPDX-License-Identifier: Apache-2.0
// What the admin socket answers, as JSON (schema: docs/operations.md). Keys may be added, never renamed or removed. Every
// answer is one object and ends in a line break. Pure functions of plain values.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "admin/provider.hpp"
#include "base/result.hpp"

namespace culvert::admin {

// No answer lists more connections; "total" still tells how many there are.
inline constexpr std::size_t kConnectionsListedMax = 20'000;

[[nodiscard]] std::string json_status(const Status& status, std::span<const std::string> pending, std::uint64_t now_us);
[[nodiscard]] std::string json_pods(std::span<const Pod> pods);
[[nodiscard]] std::string json_pod(const Pod& pod);
[[nodiscard]] std::string json_workloads(std::span<const Workload> workloads);
[[nodiscard]] std::string json_services(std::span<const Service> services);
// `now_us`: the wall clock, for the ages.
[[nodiscard]] std::string json_connections(std::span<const telemetry::ConnectionLog> connections, std::uint64_t now_us);
[[nodiscard]] std::string json_certificates(std::span<const Certificate> certificates);
[[nodiscard]] std::string json_drops(std::span<const telemetry::PodCounters> pods);
[[nodiscard]] std::string json_explanation(const Explanation& explanation);
[[nodiscard]] std::string json_error(std::string_view text);

// The body of a join: an object with netns (required), id, name, namespace, service_account and addresses (an array of
// strings). Unknown keys are refused, so that a misspelt one is not silently without effect.
[[nodiscard]] Result<JoinRequest> parse_join(std::string_view body);

}  // namespace culvert::admin
