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

// "10.1.0.5:40236 shop/cart" and, below it, the identity.
std::string party_cell(const Json& party, const std::string& address) {
  const std::string workload = workload_of(party);
  const std::string identity = text_of(party, "identity");
  return (workload.empty() ? address : address + " " + workload) + (identity.empty() ? "" : "\n " + identity);
}

// "AES-128-GCM" of "TLS_AES_128_GCM_SHA256".
std::string short_cipher(std::string cipher) {
  if (cipher.starts_with("TLS_")) cipher.erase(0, 4);
  if (const auto hash = cipher.rfind("_SHA"); hash != std::string::npos) cipher.erase(hash);
  std::replace(cipher.begin(), cipher.end(), '_', '-');
  return cipher;
}

// One connection as words.
struct Row {
  explicit Row(const Json& connection)
      : direction(text_of(connection, "direction")),
        source(party_cell(side(connection, "source"), text_of(side(connection, "source"), "address"))),
        transport(text_of(connection, "transport")),
        is_plain(transport == "tcp"),
        cipher(is_plain ? "-" : short_cipher(text_of(connection, "cipher"))),
        tx_engine(text_of(connection, "tx_engine")),
        rx_engine(text_of(connection, "rx_engine")),
        sent(human_bytes(number_of(connection, "bytes_sent"))),
        received(human_bytes(number_of(connection, "bytes_received"))),
        age(human_duration(number_of(connection, "age_ms"))),
        state(text_of(connection, "state")),
        why(text_of(connection, "why")) {
    const Json party = side(connection, "destination");
    const std::string dialled = text_of(connection, "original_destination");
    destination = party_cell(party, dialled.empty() ? text_of(party, "address") : dialled);
  }
  [[nodiscard]] Tone tone() const { return is_plain ? Tone::Warn : Tone::Good; }

  std::string direction;
  std::string source;
  std::string destination;
  std::string transport;
  bool is_plain;
  std::string cipher;
  std::string tx_engine;
  std::string rx_engine;
  std::string sent;
  std::string received;
  std::string age;
  std::string state;
  std::string why;  // this transport and this way
};

// At most this many lines for one connection, in each of the two forms.
constexpr std::size_t kWideLines = 2;
constexpr std::size_t kCompactLines = 5;

Table wide_table(const Json& connections, std::size_t rows) {
  Table table({{.title = "DIRECTION"},
               {.title = "SOURCE"},
               {.title = "DESTINATION"},
               {.title = "TRANSPORT"},
               {.title = "CIPHER"},
               {.title = "TX / RX RECORDS"},
               {.title = "SENT", .is_right = true},
               {.title = "RECEIVED", .is_right = true},
               {.title = "AGE", .is_right = true},
               {.title = "STATE"},
               {.title = "WHY"}});
  for (std::size_t i = 0; i < rows; ++i) {
    const Row row(connections[i]);
    table.row({row.direction,
               row.source,
               row.destination,
               {row.transport, row.tone()},
               row.cipher,
               row.is_plain ? std::string("-") : row.tx_engine + " / " + row.rx_engine,
               row.sent,
               row.received,
               row.age,
               {row.state, row.state == "open" ? Tone::Plain : Tone::Warn},
               row.why});
  }
  return table;
}

// For terminals that are too narrow: nothing is left out, a connection takes more lines instead.
Table compact_table(const Json& connections, std::size_t rows) {
  Table table({{.title = "DIR"},
               {.title = "SOURCE, DESTINATION", .width_min = 22},
               {.title = "PROTECTION", .width_min = 10},
               {.title = "TRAFFIC", .width_min = 10}});
  for (std::size_t i = 0; i < rows; ++i) {
    const Row row(connections[i]);
    table.row(
        {row.direction == "outbound" ? "out" : "in",
         row.source + "\n" + row.destination + (row.why.empty() ? "" : "\n " + row.why),
         {row.is_plain ? row.transport
                       : fmt::format("{} {}\ntx {}\nrx {}", row.transport, row.cipher, row.tx_engine, row.rx_engine),
          row.tone()},
         fmt::format("sent {}\nrecv {}\n{}, {}", row.sent, row.received, row.age, row.state)});
  }
  return table;
}

}  // namespace

std::string view_connections(const Json& answer, const Look& look, std::size_t lines_max) {
  const Json connections = list_of_connections(answer);
  if (connections.empty()) return "No live connections.\n";
  // The title, and the line of those that are left out.
  const auto rows_of = [&](std::size_t lines) {
    return lines_max == 0 ? connections.size()
                          : std::max<std::size_t>((lines_max - std::min<std::size_t>(lines_max, 2)) / lines, 1);
  };
  std::size_t shown = std::min(connections.size(), rows_of(kWideLines));
  Table table = wide_table(connections, shown);
  if (look.width != 0 && table.natural_width() > look.width) {
    shown = std::min(connections.size(), rows_of(kCompactLines));
    table = compact_table(connections, shown);
  }
  std::string out = table.render(look);
  const std::uint64_t total = std::max<std::uint64_t>(number_of(answer, "total"), connections.size());
  if (total > shown) out += fmt::format("... and {} more\n", total - shown);
  return out;
}

}  // namespace culvert::ctl
