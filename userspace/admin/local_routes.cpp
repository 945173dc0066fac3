// SPDX-License-Identifier: Apache-2.0
// LocalRoutes; see local_routes.hpp.
#include "admin/local_routes.hpp"

#include <utility>

#include "admin/heap_text.hpp"

namespace culvert::admin {
namespace {

constexpr std::string_view kIndex =
    "<!DOCTYPE html>\n<html><head><title>culvertd</title></head><body><h1>culvertd</h1>\n<table>\n"
    "<tr><td><a href=\"config_dump\">/config_dump</a></td><td>mesh, certificates and live connections as "
    "JSON</td></tr>\n"
    "<tr><td>POST /logging</td><td>the log level; ?level=LEVEL or ?level=SCOPE=LEVEL,... sets it, ?reset goes "
    "back</td></tr>\n"
    "<tr><td>POST /quitquitquit</td><td>drain and end</td></tr>\n"
    "<tr><td><a href=\"debug/pprof/profile\">/debug/pprof/profile</a></td><td>CPU profile for pprof; ?seconds=10, "
    "?frequency=100</td></tr>\n"
    "<tr><td><a href=\"debug/pprof/heap\">/debug/pprof/heap</a></td><td>what the allocator says</td></tr>\n"
    "</table></body></html>\n";

constexpr std::string_view kLoggingHelp =
    "usage: POST /logging              the level in force\n"
    "       POST /logging?level=LEVEL  for everything: off, error, warn, info, debug, trace\n"
    "       POST /logging?level=SCOPE=LEVEL,SCOPE=LEVEL  scopes are culvert (messages), access and dns\n"
    "       POST /logging?reset        as configured; together with level: that on top\n";

HttpResponse text(std::string body, int status = 200) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(body), .allow = {}};
}

// False: it is not, and was answered.
bool is_post(const HttpRequest& request, const HttpReply& reply) {
  if (request.method == "POST") return true;
  HttpResponse response = text("the method is not allowed here, only POST\n", 405);
  response.allow = "POST";
  reply.send(std::move(response));
  return false;
}

}  // namespace

bool is_local_host(std::string_view host) {
  std::string_view name = host;
  std::string_view port;
  if (const std::size_t colon = host.rfind(':'); colon != std::string_view::npos && !host.ends_with(']')) {
    name = host.substr(0, colon);
    port = host.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos) return false;
  }
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

bool is_local_origin(std::string_view origin) {
  constexpr std::string_view kScheme = "http://";
  return origin.starts_with(kScheme) && is_local_host(origin.substr(kScheme.size()));
}

void LocalRoutes::handle(const HttpRequest& request, const HttpReply& reply) {
  if (!request.host.empty() && !is_local_host(request.host)) {
    return reply.send(text("this port answers to the host names localhost, 127.0.0.1 and [::1] only\n", 403));
  }
  if (!request.origin.empty() && !is_local_origin(request.origin)) {
    return reply.send(text("this port does not answer to pages of other sites\n", 403));
  }
  if (request.path == "/") {
    HttpResponse index = text(std::string(kIndex));
    index.content_type = "text/html; charset=utf-8";
    return reply.send(std::move(index));
  }
  if (request.path == "/config_dump") return config_dump(reply);
  if (request.path == "/logging") return logging(request, reply);
  if (request.path == "/quitquitquit") {
    if (!is_post(request, reply)) return;
    reply.send(text("shutdown now\n"));
    return provider_.shut_down();
  }
  if (request.path == "/debug/pprof/profile") return profiles_.begin(request, reply);
  if (request.path == "/debug/pprof/heap" || request.path == "/debug/pprof/heap/profiling") {
    return reply.send(text(heap_text(), 501));
  }
  reply.send(text("not found\n", 404));
}

void LocalRoutes::config_dump(const HttpReply& reply) {
  dumps_.begin([reply](Result<HttpResponse> made) {
    if (made) return reply.send(std::move(*made));
    const bool is_busy = made.error().code() == ErrorCode::ResourceExhausted;
    reply.send(text(made.error().message() + "\n", is_busy ? 503 : 500));
  });
}

void LocalRoutes::logging(const HttpRequest& request, const HttpReply& reply) {
  if (!is_post(request, reply)) return;
  const bool resets = request.has_parameter("reset");
  if (resets || request.has_parameter("level")) {
    auto filter = telemetry::apply_directives(resets ? provider_.default_log_filter() : provider_.log_filter(),
                                              request.parameter("level"));
    if (!filter) return reply.send(text(fmt::format("{}\n{}", filter.error().message(), kLoggingHelp), 400));
    provider_.set_log_filter(*filter);
  }
  reply.send(text(fmt::format("current log level is {}\n", telemetry::to_string(provider_.log_filter()))));
}

}  // namespace culvert::admin
