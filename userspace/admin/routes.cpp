// SPDX-License-Identifier: Apache-2.0
// Routes of the admin server; see routes.hpp.
#include "admin/routes.hpp"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "admin/json_view.hpp"
#include "base/clock.hpp"

namespace culvert::admin {
namespace {

constexpr std::string_view kPodPrefix = "/v1/pods/";

HttpResponse json(std::string body, int status = 200) {
  return {.status = status, .content_type = "application/json", .body = std::move(body)};
}

HttpResponse text(std::string body, int status = 200) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(body)};
}

HttpResponse not_allowed(std::string_view allowed) {
  HttpResponse response = json(json_error(fmt::format("the method is not allowed here, only {}", allowed)), 405);
  response.allow = allowed;
  return response;
}

int status_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::InvalidArgument: return 400;
    case ErrorCode::PermissionDenied: return 403;
    case ErrorCode::NotFound: return 404;
    case ErrorCode::AlreadyExists: return 409;
    case ErrorCode::Unavailable:
    case ErrorCode::ResourceExhausted: return 503;
    case ErrorCode::Timeout: return 504;
    case ErrorCode::Unsupported: return 501;
    case ErrorCode::System:
    case ErrorCode::Protocol: return 500;
  }
  return 500;
}

HttpResponse failed(const Error& error) { return json(json_error(error.message()), status_of(error)); }

bool reads(const HttpRequest& request) { return request.method == "GET" || request.method == "HEAD"; }

std::string status_body(const Provider& provider) {
  return json_status(provider.status(), provider.pending_tasks(), wall_us());
}

struct ReadRoute {
  std::string_view path;
  std::string (*body)(const Provider&);
};
constexpr std::array<ReadRoute, 5> kReadRoutes{{
    {"/v1/status", status_body},
    {"/v1/workloads", [](const Provider& provider) { return json_workloads(provider.workloads()); }},
    {"/v1/services", [](const Provider& provider) { return json_services(provider.services()); }},
    {"/v1/certificates", [](const Provider& provider) { return json_certificates(provider.certificates()); }},
    {"/v1/drops", [](const Provider& provider) { return json_drops(provider.drops()); }},
}};

void join(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  auto parsed = parse_join(request.body);
  if (!parsed) return reply.send(failed(parsed.error()));
  provider.join(std::move(*parsed),
                [reply](Result<Pod> joined) { reply.send(joined ? json(json_pod(*joined)) : failed(joined.error())); });
}

void pods(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (reads(request)) return reply.send(json(json_pods(provider.pods())));
  if (request.method == "POST") return join(provider, request, reply);
  reply.send(not_allowed("GET, HEAD, POST"));
}

void leave(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (request.method != "DELETE") return reply.send(not_allowed("DELETE"));
  provider.leave(request.path.substr(kPodPrefix.size()),
                 [reply](Result<void> left) { reply.send(left ? json("{}\n") : failed(left.error())); });
}

// `pod`: an id, or the local workload as NAME or NAMESPACE/NAME.
bool is_of(const telemetry::ConnectionLog& connection, std::string_view pod) {
  if (connection.pod == pod) return true;
  const auto& local =
      connection.direction == telemetry::Direction::Outbound ? connection.source : connection.destination;
  return local.workload == pod || fmt::format("{}/{}", local.namespace_name, local.workload) == pod;
}

void connections(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (!reads(request)) return reply.send(not_allowed("GET, HEAD"));
  provider.connections([reply, pod = request.parameter("pod")](Result<std::vector<telemetry::ConnectionLog>> listed) {
    if (listed && !pod.empty()) std::erase_if(*listed, [&](const auto& connection) { return !is_of(connection, pod); });
    reply.send(listed ? json(json_connections(*listed, wall_us())) : failed(listed.error()));
  });
}

void explain(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (!reads(request)) return reply.send(not_allowed("GET, HEAD"));
  const auto explained = provider.explain(request.parameter("source"), request.parameter("destination"));
  reply.send(explained ? json(json_explanation(*explained)) : failed(explained.error()));
}

void set_level(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (request.method != "POST") return reply.send(not_allowed("POST"));
  const std::string word = request.parameter("level");
  telemetry::Level level{};
  if (!telemetry::parse(word, level)) {
    return reply.send(
        json(json_error(fmt::format("level is \"{}\"; it must be debug, info, warn or error", word)), 400));
  }
  provider.set_log_level(level);
  reply.send(json("{}\n"));
}

}  // namespace

void route_admin(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  for (const ReadRoute& route : kReadRoutes) {
    if (request.path != route.path) continue;
    return reply.send(reads(request) ? json(route.body(provider)) : not_allowed("GET, HEAD"));
  }
  if (request.path == "/v1/pods") return pods(provider, request, reply);
  if (request.path.starts_with(kPodPrefix) && request.path.size() > kPodPrefix.size())
    return leave(provider, request, reply);
  if (request.path == "/v1/connections") return connections(provider, request, reply);
  if (request.path == "/v1/explain") return explain(provider, request, reply);
  if (request.path == "/v1/log") return set_level(provider, request, reply);
  reply.send(json(json_error("there is nothing at this path"), 404));
}

void route_dump(Dumps& dumps, const HttpRequest& request, const HttpReply& reply) {
  if (!reads(request)) return reply.send(not_allowed("GET, HEAD"));
  dumps.begin([reply](Result<HttpResponse> made) { reply.send(made ? std::move(*made) : failed(made.error())); });
}

void route_readiness(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (request.path != "/healthz/ready") return reply.send(text("not found\n", 404));
  if (!reads(request)) return reply.send(not_allowed("GET, HEAD"));
  auto pending = provider.pending_tasks();
  if (pending.empty()) return reply.send(text("ready\n"));
  std::sort(pending.begin(), pending.end());
  reply.send(text(fmt::format("not ready, pending: {}\n", fmt::join(pending, ", ")), 500));
}

}  // namespace culvert::admin
