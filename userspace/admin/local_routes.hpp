// SPDX-License-Identifier: Apache-2.0
// LocalRoutes: what ztunnel answers on its admin port, for `istioctl ztunnel-config` and the people who know it. Whoever may connect to the
// port may ask; the port is on loopback only. Control thread.
//
// A browser is kept out: a name that leads to loopback (DNS rebinding) shows in the Host field, a page that posts to it in Origin. Both are
// answered 403.
#pragma once

#include <string_view>

#include "admin/cpu_profiles.hpp"
#include "admin/dumps.hpp"
#include "admin/http_server.hpp"
#include "admin/provider.hpp"

namespace culvert::admin {

// "localhost", 127.0.0.1 or [::1], with or without a port.
[[nodiscard]] bool is_local_host(std::string_view host);
// What a page of such a host sends as Origin.
[[nodiscard]] bool is_local_origin(std::string_view origin);

class LocalRoutes {
 public:
  LocalRoutes(Provider& provider, Dumps& dumps, Reactor& reactor)
      : provider_(provider), dumps_(dumps), profiles_(reactor) {}

  // Any method: /, /config_dump, /debug/pprof/profile, /debug/pprof/heap, /debug/pprof/heap/profiling. POST: /logging, /quitquitquit.
  void handle(const HttpRequest& request, const HttpReply& reply);

 private:
  void config_dump(const HttpReply& reply);
  void logging(const HttpRequest& request, const HttpReply& reply);

  Provider& provider_;
  Dumps& dumps_;
  CpuProfiles profiles_;
};

}  // namespace culvert::admin
