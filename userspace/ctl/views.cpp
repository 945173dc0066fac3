// SPDX-License-Identifier: Apache-2.0
// Views of the agent's answers; see views.hpp. Connections have a file of their own.
#include "ctl/views.hpp"

#include <fmt/format.h>

#include "ctl/units.hpp"

namespace culvert::ctl {
namespace {

const Json& list_of(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  if (!object.is_object()) return kNone;
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kNone;
}

const Json& object_of(const Json& object, const char* key) {
  static const Json kNone = Json::object();
  if (!object.is_object()) return kNone;
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : kNone;
}

std::string joined(const Json& list, std::string_view separator) {
  std::string out;
  for (const auto& item : list) {
    if (!item.is_string()) continue;
    if (!out.empty()) out += separator;
    out += item.get<std::string>();
  }
  return out;
}

// "80>8080" a line: what is dialled, and the endpoints' port where it is another one.
std::string ports_of(const Json& service) {
  std::string out;
  for (const auto& port : list_of(service, "ports")) {
    const std::uint64_t dialled = number_of(port, "port");
    const std::uint64_t target = number_of(port, "target_port");
    if (!out.empty()) out += '\n';
    out += target == 0 || target == dialled ? std::to_string(dialled) : fmt::format("{}>{}", dialled, target);
  }
  return out;
}

Tone tone_of_state(std::string_view state) {
  if (state == "ready" || state == "joined" || state == "available") return Tone::Good;
  if (state == "failed" || state.starts_with("unavailable")) return Tone::Bad;
  return Tone::Warn;
}

// "name:   value" lines; a value with line breaks goes on below itself.
class Sheet {
 public:
  explicit Sheet(const Look& look) : look_(look) {}
  void line(std::string_view name, std::string_view value, Tone tone = Tone::Plain) {
    if (value.empty()) return;
    out_ += toned(fmt::format("{:<14}", std::string(name) + ":"), Tone::Strong, look_);
    out_ += toned(printable(value), tone, look_);
    out_ += '\n';
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  Look look_;
  std::string out_;
};

void view_revocation(Sheet& sheet, const Json& revocation) {
  const std::string path = text_of(revocation, "path");
  if (path.empty()) return;
  const Json& lists = list_of(revocation, "lists");
  const auto closed = revocation.find("fail_closed");
  const bool fails_closed = closed != revocation.end() && closed->is_boolean() && closed->get<bool>();
  sheet.line("revocation",
             fmt::format("{} lists in force, from {}{}", lists.size(), path,
                         fails_closed ? "; what they do not speak of is refused" : ""),
             lists.empty() ? Tone::Warn : Tone::Plain);
  for (const auto& list : lists) {
    const auto next = static_cast<std::int64_t>(number_of(list, "next_update_s"));
    const std::string state = text_of(list, "state");
    sheet.line("",
               fmt::format("{}: {} certificates, next update {}, {}", text_of(list, "issuer"),
                           number_of(list, "entries"), next == 0 ? "never" : human_time(next), state),
               state == "in force" ? Tone::Plain : Tone::Warn);
  }
  sheet.line("", text_of(revocation, "error"), Tone::Bad);
}

}  // namespace

std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return 0;
  return found->is_number_unsigned() ? found->get<std::uint64_t>()
                                     : static_cast<std::uint64_t>(found->get<std::int64_t>());
}

Result<Json> parse_answer(const std::string& body) {
  auto json = Json::parse(body, nullptr, false);
  if (json.is_discarded())
    return fail(ErrorCode::Protocol, "the agent's answer is not JSON; is it another program's socket?");
  return json;
}

std::string view_status(const Json& answer, const Look& look) {
  Sheet sheet(look);
  const std::string state = text_of(answer, "state");
  const Json& pending = list_of(answer, "pending");
  const Json& connections = object_of(answer, "connections");
  const Json& tunnels = object_of(answer, "tunnels");
  const Json& capture = object_of(answer, "capture");
  sheet.line("agent", fmt::format("culvertd {}, pid {}, up {}", text_of(answer, "version"), number_of(answer, "pid"),
                                  human_duration(number_of(answer, "uptime_ms"))));
  sheet.line("state", state + (pending.empty() ? "" : ", pending: " + joined(pending, ", ")), tone_of_state(state));
  sheet.line("node", text_of(answer, "node"));
  sheet.line("cluster", text_of(answer, "cluster"));
  sheet.line("network", text_of(answer, "network"));
  sheet.line("trust domain", text_of(answer, "trust_domain"));
  sheet.line("config", text_of(answer, "config"));
  sheet.line("workers", std::to_string(number_of(answer, "workers")));
  sheet.line("mesh", fmt::format("{} workloads (snapshot {}), {} pods joined here", number_of(answer, "workloads"),
                                 number_of(answer, "snapshot_version"), number_of(answer, "pods")));
  sheet.line("connections", fmt::format("{} outbound, {} inbound", number_of(connections, "outbound"),
                                        number_of(connections, "inbound")));
  sheet.line("tunnels",
             fmt::format("{} open, {} of them idle", number_of(tunnels, "open"), number_of(tunnels, "idle")));
  sheet.line("capture",
             fmt::format("{}, {}, segments on lo up to {} (IPv4) and {} (IPv6)", text_of(capture, "steering"),
                         text_of(capture, "attachment"), human_bytes(number_of(capture, "lo_segment_bytes_v4")),
                         human_bytes(number_of(capture, "lo_segment_bytes_v6"))));
  bool is_first = true;
  for (const auto& engine : list_of(answer, "engines")) {
    sheet.line(is_first ? "TLS records" : "", fmt::format("{}: send {}, receive {}", text_of(engine, "cipher"),
                                                          text_of(engine, "tx"), text_of(engine, "rx")));
    is_first = false;
  }
  view_revocation(sheet, object_of(answer, "revocation"));
  for (const auto& note : list_of(answer, "notes")) {
    if (note.is_string()) sheet.line("note", note.get<std::string>(), Tone::Warn);
  }
  return sheet.take();
}

std::string view_pods(const Json& answer, const Look& look) {
  Table table({{.title = "ID", .width_min = 12},
               {.title = "NAMESPACE", .width_min = 8},
               {.title = "NAME", .width_min = 8},
               {.title = "ADDRESSES", .width_min = 12},
               {.title = "IDENTITY", .width_min = 20, .drop_order = 2},
               {.title = "STATE"},
               {.title = "NETNS", .width_min = 12, .drop_order = 1}});
  for (const auto& pod : list_of(answer, "pods")) {
    const std::string state = text_of(pod, "state");
    const std::string detail = text_of(pod, "detail");
    table.row({{text_of(pod, "id"), Tone::Strong},
               text_of(pod, "namespace"),
               text_of(pod, "name"),
               joined(list_of(pod, "addresses"), "\n"),
               text_of(pod, "identity"),
               {detail.empty() ? state : state + "\n" + detail, tone_of_state(state)},
               text_of(pod, "netns")});
  }
  if (table.size() == 0)
    return "No pod has joined. A pod joins when the CNI plugin adds it, or by `culvertctl join NETNS`.\n";
  return table.render(look);
}

std::string view_workloads(const Json& answer, const Look& look) {
  Table table({{.title = "NAMESPACE", .width_min = 8},
               {.title = "NAME", .width_min = 10},
               {.title = "ADDRESSES", .width_min = 12},
               {.title = "NODE", .width_min = 6, .drop_order = 3},
               {.title = "NETWORK", .width_min = 6, .drop_order = 1},
               {.title = "PROTOCOL", .drop_order = 4},
               {.title = "PEER AUTH", .drop_order = 2},
               {.title = "WAYPOINT", .width_min = 8, .drop_order = 5},
               {.title = "IDENTITY", .width_min = 20}});
  for (const auto& workload : list_of(answer, "workloads")) {
    table.row({text_of(workload, "namespace"),
               {text_of(workload, "name"), Tone::Strong},
               list_of(workload, "addresses").empty() ? text_of(workload, "hostname")
                                                      : joined(list_of(workload, "addresses"), "\n"),
               text_of(workload, "node"),
               text_of(workload, "network"),
               text_of(workload, "protocol"),
               text_of(workload, "peer_auth"),
               text_of(workload, "waypoint"),
               text_of(workload, "identity")});
  }
  if (table.size() == 0)
    return "The mesh has no workload yet; they come from the agent's configuration or control plane.\n";
  return table.render(look);
}

std::string view_services(const Json& answer, const Look& look) {
  Table table({{.title = "NAMESPACE", .width_min = 8},
               {.title = "NAME", .width_min = 10},
               {.title = "ADDRESSES", .width_min = 12},
               {.title = "PORTS"},
               {.title = "ENDPOINTS"},
               {.title = "WAYPOINT", .width_min = 8, .drop_order = 3},
               {.title = "MODE", .drop_order = 1},
               {.title = "HOSTNAME", .width_min = 16, .drop_order = 2}});
  for (const auto& service : list_of(answer, "services")) {
    const Json& endpoints = list_of(service, "endpoints");
    std::size_t usable = 0;
    for (const auto& endpoint : endpoints) usable += text_of(endpoint, "state") == "usable" ? 1U : 0U;
    table.row({text_of(service, "namespace"),
               {text_of(service, "name"), Tone::Strong},
               joined(list_of(service, "addresses"), "\n"),
               ports_of(service),
               {usable == endpoints.size() ? std::to_string(usable) : fmt::format("{} of {}", usable, endpoints.size()),
                usable == 0                 ? Tone::Bad
                : usable < endpoints.size() ? Tone::Warn
                                            : Tone::Plain},
               text_of(service, "waypoint"),
               text_of(service, "mode"),
               text_of(service, "hostname")});
  }
  if (table.size() == 0)
    return "The mesh has no service yet; they come from the agent's configuration or control plane.\n";
  return table.render(look);
}

std::string view_certificates(const Json& answer, const Look& look, std::int64_t now_s) {
  Table table({{.title = "IDENTITY", .width_min = 24},
               {.title = "STATE", .width_min = 9},
               {.title = "VALID FROM", .drop_order = 2},
               {.title = "VALID UNTIL"},
               {.title = "LEFT", .is_right = true},
               {.title = "RENEWED", .drop_order = 3},
               {.title = "SERIAL", .width_min = 10, .drop_order = 1}});
  for (const auto& certificate : list_of(answer, "certificates")) {
    const auto until = static_cast<std::int64_t>(number_of(certificate, "not_after_s"));
    const auto renewed = static_cast<std::int64_t>(number_of(certificate, "rotates_at_s"));
    const std::string state = text_of(certificate, "state");
    const bool is_expired = until <= now_s;
    table.row({{text_of(certificate, "identity"), Tone::Strong},
               {state, tone_of_state(state)},
               human_time(static_cast<std::int64_t>(number_of(certificate, "not_before_s"))),
               human_time(until),
               {is_expired ? "expired" : human_duration(static_cast<std::uint64_t>(until - now_s) * 1'000),
                is_expired ? Tone::Bad : Tone::Plain},
               renewed == 0 ? std::string("-") : human_time(renewed),
               text_of(certificate, "serial")});
  }
  if (table.size() == 0) return "No certificate: no pod with an identity has joined.\n";
  return table.render(look);
}

std::string view_explanation(const Json& answer, const Look& look) {
  std::string out;
  for (const auto& step : list_of(answer, "steps")) {
    const std::string result = text_of(step, "result");
    const Tone tone = result == "ok" ? Tone::Good : result == "no" ? Tone::Bad : Tone::Plain;
    const std::string_view mark = result == "ok" ? "+" : result == "no" ? "-" : " ";
    out += toned(mark, tone, look);
    out += toned(fmt::format(" {:<12} ", printable(text_of(step, "what"))), Tone::Strong, look);
    out += printable(text_of(step, "text"));
    if (const std::string by = text_of(step, "decided_by"); !by.empty())
      out += toned("  [" + printable(by) + "]", Tone::Dim, look);
    out += '\n';
  }
  const std::string outcome = text_of(answer, "outcome");
  const Tone tone = outcome == "allowed"                          ? Tone::Good
                    : outcome == "denied" || outcome == "refused" ? Tone::Bad
                                                                  : Tone::Warn;
  return out + toned(printable(outcome.empty() ? "no answer" : outcome), tone, look) + "\n";
}

std::string view_drops(const Json& answer, const Look& look, bool shows_zeros) {
  Table table({{.title = "POD", .width_min = 12},
               {.title = "DECISION"},
               {.title = "COUNT", .is_right = true},
               {.title = "MEANING", .width_min = 20}});
  for (const auto& pod : list_of(answer, "drops")) {
    const std::string name = text_of(pod, "name");
    const std::string title = name.empty() ? text_of(pod, "id") : text_of(pod, "namespace") + "/" + name;
    for (const auto& counter : list_of(pod, "counters")) {
      const std::uint64_t value = number_of(counter, "value");
      if (value == 0 && !shows_zeros) continue;
      const std::string decision = text_of(counter, "name");
      const bool is_drop = decision.find("drop") != std::string::npos;
      table.row({{title, Tone::Strong},
                 decision,
                 {std::to_string(value), is_drop && value != 0 ? Tone::Warn : Tone::Plain},
                 text_of(counter, "help")});
    }
  }
  if (table.size() == 0)
    return "Nothing was counted: no pod has joined, or none has sent a packet (--all shows the zeros).\n";
  return table.render(look);
}

std::string pod_id(const Json& pods, std::string_view word) {
  const std::string below_run = "/run/netns/" + std::string(word);
  std::string by_path;
  for (const auto& pod : list_of(pods, "pods")) {
    const std::string id = text_of(pod, "id");
    if (id == word) return id;
    const std::string path = text_of(pod, "netns");
    if (path == word || path == below_run || "/var" + path == word || path == "/var" + std::string(word)) by_path = id;
  }
  return by_path;
}

}  // namespace culvert::ctl
