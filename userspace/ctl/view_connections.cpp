// SPDX-License-Identifier: Apache-2.0
// The table of live connections: who speaks with whom, how it is protected, and by which engine in each direction.
#include <algorithm>

#include <fmt/format.h>

#include "ctl/units.hpp"
#include "ctl/views.hpp"

namespace culvert::ctl {
namespace {

Json list_of_connections(const Json& answer) {
  if (!answer.is_object()) return Json::array();
  const auto found = answer.find("connections");
  return found != answer.end() && found->is_array() ? *found : Json::array();
}

Json side(const Json& connection, const char* key) {
  const auto found = connection.find(key);
  return found != connection.end() ? *found : Json::object();
}

std::string workload_of(const Json& party) {
  const std::string name = text_of(party, "workload");
  const std::string name_space = text_of(party, "namespace");
  return name_space.empty() ? name : name_space + "/" + name;
}

// "shop/cart 10.1.0.5:40236" and, below it, the identity.
std::string party_cell(const Json& party, const std::string& address) {
  const std::string workload = workload_of(party);
  const std::string identity = text_of(party, "identity");
  return (workload.empty() ? address : address + " " + workload) + (identity.empty() ? "" : "\n" + identity);
}

// "AES-128-GCM" of "TLS_AES_128_GCM_SHA256".
std::string short_cipher(std::string cipher) {
  if (cipher.starts_with("TLS_")) cipher.erase(0, 4);
  if (const auto hash = cipher.rfind("_SHA"); hash != std::string::npos) cipher.erase(hash);
  std::replace(cipher.begin(), cipher.end(), '_', '-');
  return cipher;
}

bool is_of(const Json& connection, std::string_view pod) {
  if (text_of(connection, "pod") == pod) return true;
  const bool is_outbound = text_of(connection, "direction") == "outbound";
  const Json local = side(connection, is_outbound ? "source" : "destination");
  return text_of(local, "workload") == pod || workload_of(local) == pod;
}

}  // namespace

Json connections_of(Json answer, std::string_view pod) {
  Json kept = Json::array();
  for (auto& connection : list_of_connections(answer)) {
    if (is_of(connection, pod)) kept.push_back(std::move(connection));
  }
  answer["total"] = kept.size();
  answer["connections"] = std::move(kept);
  return answer;
}

std::string view_connections(const Json& answer, const Look& look, std::size_t rows_max) {
  const Json connections = list_of_connections(answer);
  Table table({{.title = "DIRECTION"},
               {.title = "SOURCE", .width_min = 21},
               {.title = "DESTINATION", .width_min = 21},
               {.title = "TRANSPORT"},
               {.title = "CIPHER", .drop_order = 1},
               {.title = "TX / RX RECORDS", .width_min = 16, .drop_order = 4},
               {.title = "SENT", .is_right = true, .drop_order = 5},
               {.title = "RECEIVED", .is_right = true, .drop_order = 6},
               {.title = "AGE", .is_right = true, .drop_order = 3},
               {.title = "STATE", .drop_order = 2}});
  for (const auto& connection : connections) {
    if (rows_max != 0 && table.size() == rows_max) break;
    const bool is_plain = text_of(connection, "transport") == "tcp";
    const Json source = side(connection, "source");
    const Json destination = side(connection, "destination");
    const std::string dialled = text_of(connection, "original_destination");
    const std::string state = text_of(connection, "state");
    table.row({text_of(connection, "direction"),
               party_cell(source, text_of(source, "address")),
               party_cell(destination, dialled.empty() ? text_of(destination, "address") : dialled),
               {text_of(connection, "transport"), is_plain ? Tone::Warn : Tone::Good},
               is_plain ? std::string("-") : short_cipher(text_of(connection, "cipher")),
               is_plain ? std::string("-") : text_of(connection, "tx_engine") + " / " + text_of(connection, "rx_engine"),
               human_bytes(number_of(connection, "bytes_sent")),
               human_bytes(number_of(connection, "bytes_received")),
               human_duration(number_of(connection, "age_ms")),
               {state, state == "open" ? Tone::Plain : Tone::Warn}});
  }
  if (table.size() == 0) return "No live connections.\n";
  std::string out = table.render(look);
  const std::uint64_t total = std::max<std::uint64_t>(number_of(answer, "total"), connections.size());
  if (total > table.size()) out += fmt::format("... and {} more\n", total - table.size());
  return out;
}

}  // namespace culvert::ctl
