// SPDX-License-Identifier: Apache-2.0
// Which request is answered with what, for each of the three listeners. Functions of a request and a Provider; no sockets.
#pragma once

#include "admin/dumps.hpp"
#include "admin/http_server.hpp"
#include "admin/provider.hpp"

namespace culvert::admin {

// GET /v1/{status,pods,workloads,services,connections,certificates,drops}, /v1/explain?source=&destination=, /v1/connections?pod= (one pod's), POST /v1/pods, DELETE /v1/pods/ID, POST /v1/log?level=.
void route_admin(Provider& provider, const HttpRequest& request, const HttpReply& reply);
// GET /v1/config_dump, of the admin socket too: what the local port's /config_dump gives.
void route_dump(Dumps& dumps, const HttpRequest& request, const HttpReply& reply);
// GET /metrics, /stats/prometheus: Prometheus text or OpenMetrics, compressed where the client asks for it (metrics_route.cpp).
void route_metrics(Provider& provider, const HttpRequest& request, const HttpReply& reply);
// GET /healthz/ready: 200 "ready\n", or 500 "not ready, pending: a, b\n" with sorted names, as ztunnel answers.
void route_readiness(Provider& provider, const HttpRequest& request, const HttpReply& reply);

}  // namespace culvert::admin
