// SPDX-License-Identifier: Apache-2.0
#include "policy/explain.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "policy/explain_policies.hpp"
#include "state/route.hpp"
#include "state/superseded.hpp"

namespace culvert::policy {
namespace {

using state::EndpointRow;
using state::Route;
using state::RouteKind;
using state::Service;
using state::Snapshot;
using state::WorkloadEntry;

constexpr std::size_t kEndpointsShown = 10;

// Always the first that may be chosen, so that the same question has the same answer.
class First final : public state::RouteRandom {
 public:
  [[nodiscard]] std::uint32_t below(std::uint32_t) override { return 0; }
};

struct Dialled {
  std::string host;
  std::uint16_t port = 0;
};

Result<Dialled> parse_destination(std::string_view text) {
  if (const auto endpoint = Endpoint::parse(text); endpoint && endpoint->port != 0) {
    return Dialled{endpoint->address.to_string(), endpoint->port};
  }
  const std::size_t colon = text.rfind(':');
  Dialled dialled;
  if (colon != std::string_view::npos && colon > 0 && text.find(':') == colon) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), dialled.port);
    dialled.host = text.substr(0, colon);
    if (error == std::errc() && end == digits.data() + digits.size() && dialled.port != 0) return dialled;
  }
  return fail(ErrorCode::InvalidArgument,
              "\"{}\" is not a destination; write ADDRESS:PORT, [ADDRESS]:PORT or HOSTNAME:PORT", text);
}

const WorkloadEntry* find_by_name(const Snapshot& snapshot, std::string_view text, std::size_t& count) {
  const std::size_t slash = text.find('/');
  const std::string_view namespace_name = slash == std::string_view::npos ? std::string_view{} : text.substr(0, slash);
  const std::string_view name = slash == std::string_view::npos ? text : text.substr(slash + 1);
  const WorkloadEntry* found = nullptr;
  snapshot.for_each_workload([&](const WorkloadEntry& workload) {
    if (workload.name() != name || (!namespace_name.empty() && workload.namespace_name() != namespace_name)) return;
    if (state::is_superseded(snapshot, workload)) return;
    ++count;
    found = &workload;
  });
  return found;
}

class Explainer {
 public:
  Explainer(const Snapshot& snapshot, const ExplainOptions& options) : snapshot_(snapshot), options_(options) {}

  Result<Explanation> make(std::string_view source, std::string_view destination) {
    const Dialled dialled = CV_TRY(parse_destination(destination));
    if (auto found = find_source(source); !found) return std::unexpected(std::move(found).error());
    dialled_.port = dialled.port;
    if (auto found = find_destination(dialled.host); !found) return std::unexpected(std::move(found).error());
    First random;
    const Route route = state::route(snapshot_, source_, dialled_, random);
    tell_endpoints(route);
    if (route.kind == RouteKind::Ask) return ask(route);
    if (route.kind == RouteKind::Refused) {
      step("route", "no", fmt::format("refused: {} ({})", state::to_string(route.refusal), route.why),
           route.service != nullptr ? name_of(*route.service) : std::string());
      return finish("refused");
    }
    if (route.kind == RouteKind::Passthrough) {
      step("route", "ok", fmt::format("plain TCP to {}, as it was dialled: {}", dialled_.to_string(), route.why),
           route.service != nullptr ? name_of(*route.service) : std::string());
      step("verdict", "ok", "no agent is asked; no policy of the mesh counts");
      return finish("not in the mesh");
    }
    return source_.workload == nullptr ? from_outside(route) : from_mesh(route);
  }

 private:
  void step(std::string_view what, std::string_view result, std::string text, std::string decided_by = {}) {
    made_.steps.push_back({std::string(what), std::string(result), std::move(text), std::move(decided_by)});
  }
  // Nothing is asked for here: a person looks, no connection needs it.
  Explanation ask(const Route& route) {
    step("route", "note",
         fmt::format("{} is not known here yet: a connection would wait until istiod has said who it is",
                     state::name_of(route.wanted)),
         route.service != nullptr ? name_of(*route.service) : std::string());
    return finish("undecided");
  }
  Explanation finish(std::string_view outcome) {
    made_.outcome = outcome;
    return std::move(made_);
  }

  Result<void> find_source(std::string_view text) {
    const WorkloadEntry* workload = nullptr;
    if (const auto address = IpAddress::parse(text)) {
      source_.address = *address;
      workload = snapshot_.find(*address);
    } else if (workload = snapshot_.find_uid(text); workload == nullptr) {
      std::size_t count = 0;
      workload = find_by_name(snapshot_, text, count);
      if (count == 0) {
        return fail(ErrorCode::NotFound,
                    "no workload is \"{}\"; write its address, NAMESPACE/NAME or uid (see culvertctl workloads)", text);
      }
      if (count > 1) {
        return fail(ErrorCode::InvalidArgument, "{} workloads are \"{}\"; write the address or the uid of one", count,
                    text);
      }
    }
    source_.network = snapshot_.network();
    if (workload == nullptr) {
      step("source", "note", fmt::format("{} is not in the mesh: plain TCP, without an identity", text));
      return {};
    }
    const bool is_dialling = std::ranges::find(workload->addresses(), source_.address) != workload->addresses().end();
    if (!is_dialling && !workload->addresses().empty()) source_.address = workload->addresses().front();
    source_.network = workload->network();
    source_.namespace_name = workload->namespace_name();
    if (workload->protocol() == state::Protocol::Tcp) {
      step("source", "note",
           fmt::format("{} at {} has no agent: plain TCP, without an identity", text_of(*workload),
                       source_.address.to_string()),
           name_of(*workload));
      return {};
    }
    source_.identity = &workload->identity();
    source_.workload = workload;
    step(
        "source", "ok",
        fmt::format("{} at {}, {}{}", text_of(*workload), source_.address.to_string(), workload->identity().to_string(),
                    workload->node().empty() ? std::string() : fmt::format(", on node {}", workload->node())),
        name_of(*workload));
    return {};
  }

  Result<void> find_destination(const std::string& host) {
    if (const auto address = IpAddress::parse(host)) {
      dialled_.address = *address;
      const auto [service, workload] = snapshot_.find_owner(source_.network, *address, source_.namespace_name);
      tell_destination(service, workload);
      return {};
    }
    const std::string_view domain = options_.cluster_domain;
    for (const std::string& name : {host, fmt::format("{}.{}.svc.{}", host, source_.namespace_name, domain),
                                    fmt::format("{}.svc.{}", host, domain), fmt::format("{}.{}", host, domain)}) {
      if (const Service* service = snapshot_.find_hostname(name, source_.namespace_name)) {
        const state::NetworkAddress* vip = vip_for_source(*service);
        if (vip == nullptr) {
          return fail(ErrorCode::NotFound,
                      "service {} has no address in the source's network{}: ask for one of its workloads",
                      service->hostname, source_.network.empty() ? "" : fmt::format(" {}", source_.network));
        }
        dialled_.address = vip->address;
        tell_destination(service, nullptr);
        return {};
      }
      const WorkloadEntry* workload = snapshot_.find_workload(source_.namespace_name, name);
      if (workload != nullptr && !workload->addresses().empty()) {
        dialled_.address = workload->addresses().front();
        tell_destination(nullptr, workload);
        return {};
      }
    }
    return fail(ErrorCode::NotFound,
                "no service that the source sees has the hostname \"{}\" (see culvertctl services){}", host,
                snapshot_.is_on_demand() ? "; services come here when connections need them: ask for an address" : "");
  }

  // As DNS would answer the source; null: with nothing.
  [[nodiscard]] const state::NetworkAddress* vip_for_source(const Service& service) const {
    const auto found = std::ranges::find_if(service.vips, [this](const state::NetworkAddress& one) {
      return one.network == source_.network && one.is_whole();
    });
    return found == service.vips.end() ? nullptr : &*found;
  }

  void tell_destination(const Service* service, const WorkloadEntry* workload) {
    if (service != nullptr) {
      step("destination", "ok", fmt::format("{} is an address of a service", dialled_.address.to_string()),
           name_of(*service));
    } else if (workload != nullptr) {
      step("destination", "ok", fmt::format("{} is {}", dialled_.address.to_string(), text_of(*workload)),
           name_of(*workload));
    } else {
      const bool is_open = state::lacking(snapshot_, {}, dialled_.address).has_value();
      step("destination", "note",
           fmt::format("{} is {}", dialled_.address.to_string(), is_open ? "not known here" : "nobody's in the mesh"));
    }
  }

  void tell_endpoints(const Route& route) {
    if (route.service == nullptr) return;
    const auto usable = snapshot_.usable_endpoints(*route.service);
    const std::size_t all = snapshot_.all_endpoints(*route.service).size();
    std::vector<std::string> names;
    for (const EndpointRow& row : usable) {
      if (names.size() == kEndpointsShown) break;
      names.emplace_back(snapshot_.workload(row.workload).uid());
    }
    if (usable.size() > names.size()) names.push_back(fmt::format("{} more", usable.size() - names.size()));
    step("endpoints", usable.empty() ? "no" : "ok",
         fmt::format("{} of {} usable, mode {}: {}", usable.size(), all, state::to_string(route.service->lb_mode),
                     names.empty() ? std::string("none") : fmt::format("{}", fmt::join(names, ", "))),
         name_of(*route.service));
  }

  // A client without an agent: the cluster's own ways lead to the endpoint, in plain text.
  Explanation from_outside(const Route& route) {
    if (route.destination == nullptr || route.kind == RouteKind::Gateway) {
      step("route", "note", "how plain TCP from outside the mesh gets there is not the mesh's to say");
      return finish("undecided");
    }
    step("route", "ok", fmt::format("plain TCP to {}; a waypoint is not passed", text_of(*route.destination)),
         name_of(*route.destination));
    const std::uint16_t port = route.is_waypoint ? dialled_.port : application_port(route);
    return judge(*route.destination, {source_.address, 0}, port, nullptr);
  }

  Explanation from_mesh(const Route& route) {
    const std::string by = route.workload != nullptr ? name_of(*route.workload) : std::string();
    if (route.kind == RouteKind::Resolve) {
      step("route", "ok", fmt::format("{}; DNS is asked for {}", route.why, route.dns_name), by);
    } else if (route.kind == RouteKind::Plain) {
      step("route", "ok", fmt::format("{}: plain TCP to {}", route.why, route.next_hop.to_string()), by);
      step("verdict", "ok", "the endpoint has no agent; no policy of the mesh counts", by);
      return finish("not in the mesh");
    } else {
      step(route.is_waypoint                  ? "waypoint"
           : route.kind == RouteKind::Gateway ? "gateway"
                                              : "route",
           "ok",
           fmt::format("{}: tunnel to {}, {}{}", route.why, route.next_hop.to_string(), asked_for(route),
                       kind_of(route)),
           by);
    }
    if (route.workload != nullptr) tell_identities(route);
    if (route.kind == RouteKind::Gateway) {
      step("verdict", "note", "policies are judged in the other network");
      return finish("undecided");
    }
    if (route.is_waypoint) return behind_waypoint(route);
    if (route.destination == nullptr) return finish("undecided");
    return judge(*route.destination, {source_.address, 0}, application_port(route), source_.identity);
  }

  // The waypoint speaks for the client from here on: what it decides by HTTP is its own.
  Explanation behind_waypoint(const Route& route) {
    const WorkloadEntry* destination = route.destination;
    std::uint16_t port = dialled_.port;
    if (destination == nullptr && route.service != nullptr) {
      const auto usable = snapshot_.usable_endpoints(*route.service);
      if (!usable.empty()) {
        destination = &snapshot_.workload(usable.front().workload);
        port = mapped(route.service->ports, port);
        const auto* own = snapshot_.endpoints(*route.service).own_ports(usable.front());
        if (own != nullptr) port = mapped(*own, dialled_.port);
      }
    }
    if (destination == nullptr || route.workload == nullptr) return finish("undecided");
    step("waypoint", "note",
         fmt::format("it judges by its own rules, and then connects to an endpoint such as {}", text_of(*destination)),
         name_of(*route.workload));
    const Endpoint from{route.next_hop.address, 0};
    return judge(*destination, from, port, &route.workload->identity());
  }

  static std::uint16_t mapped(const std::vector<state::ServicePort>& ports, std::uint16_t port) {
    const auto found = std::ranges::find(ports, port, &state::ServicePort::port);
    return found == ports.end() || found->target_port == 0 ? port : found->target_port;
  }
  static std::uint16_t application_port(const Route& route) {
    return route.target.port != 0 ? route.target.port : route.next_hop.port;
  }

  static std::string asked_for(const Route& route) {
    return route.kind == RouteKind::Gateway ? fmt::format("asked for {}:{}", route.authority_host, route.authority_port)
                                            : "asked for " + route.target.to_string();
  }

  static std::string kind_of(const Route& route) {
    const state::HboneNeed need = state::hbone_need(route);
    return need == state::HboneNeed::None ? std::string() : fmt::format("; {}", state::to_string(need));
  }

  void tell_identities(const Route& route) {
    std::vector<std::string> texts{route.workload->identity().to_string()};
    for (const SpiffeId& one : route.accepted) texts.push_back(one.to_string());
    step("identity", "ok", fmt::format("the far end must be {}", fmt::join(texts, " or ")), name_of(*route.workload));
  }

  Explanation judge(const WorkloadEntry& destination, const Endpoint& from, std::uint16_t port, const SpiffeId* peer) {
    const IpAddress address = destination.addresses().empty() ? dialled_.address : destination.addresses().front();
    const InboundRequest request{
        from, {address, port}, peer, options_.trust_domains, destination.identity().trust_domain};
    return finish(explain_policies(snapshot_, destination, request, options_.unknown, made_.steps));
  }

  const Snapshot& snapshot_;
  ExplainOptions options_;
  state::RouteSource source_;
  Endpoint dialled_;
  Explanation made_;
};

}  // namespace

Result<Explanation> explain(const Snapshot& snapshot, std::string_view source, std::string_view destination,
                            const ExplainOptions& options) {
  return Explainer(snapshot, options).make(source, destination);
}

}  // namespace culvert::policy
