// SPDX-License-Identifier: Apache-2.0
// Every cell of the state tables in docs/protocol.md section 5, for both ends.
#include "direct/session.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>

#include "protocol_document.hpp"

#include <catch2/catch.hpp>

using namespace culvert::direct;  // NOLINT(google-build-using-namespace): a test of this module
using culvert::direct::test::document_table;
using culvert::direct::test::TableCell;

namespace {

const std::map<std::string, Action> kActions = {
    {"Deliver", Action::Deliver},
    {"Discard", Action::Discard},
    {"StartConnect", Action::StartConnect},
    {"RefuseDraining", Action::RefuseDraining},
    {"RefuseBadRequest", Action::RefuseBadRequest},
    {"Accepted", Action::Accepted},
    {"Refused", Action::Refused},
    {"PeerEnded", Action::PeerEnded},
    {"PeerReset", Action::PeerReset},
    {"Untried", Action::Untried},
    {"PeerGoingAway", Action::PeerGoingAway},
    {"KeepTicket", Action::KeepTicket},
    {"Close", Action::Close},
    {"ProtocolError", Action::ProtocolError},
};

struct Expected {
  Action action;
  std::string state;
};

// "Accepted → Open", "Deliver", "!", "·".
Expected expected_of(const TableCell& cell) {
  if (cell.text == "!") return {Action::ProtocolError, "Closed"};
  if (cell.text == "·") return {Action::Discard, cell.column};
  const std::string arrow = " → ";
  const std::size_t at = cell.text.find(arrow);
  const auto action = kActions.find(cell.text.substr(0, at));
  INFO(cell.text);
  REQUIRE(action != kActions.end());
  return {action->second, at == std::string::npos ? cell.column : cell.text.substr(at + arrow.size())};
}

template <typename Session>
std::string ends_of(const Session& session) {
  std::string text;
  if (session.has_sent_end()) text += ", END sent";
  if (session.has_received_end()) text += ", END received";
  return text;
}

std::string name_of(const ClientSession& session) {
  switch (session.state()) {
    case ClientSession::State::Idle: return "Idle" + ends_of(session);
    case ClientSession::State::Opening: return "Opening" + ends_of(session);
    case ClientSession::State::Open: return "Open" + ends_of(session);
    case ClientSession::State::Refused: return "Refused" + ends_of(session);
    case ClientSession::State::Closed: return "Closed";
  }
  return "?";
}

std::string name_of(const ServerSession& session) {
  switch (session.state()) {
    case ServerSession::State::Idle: return "Idle" + ends_of(session);
    case ServerSession::State::Connecting: return "Connecting" + ends_of(session);
    case ServerSession::State::Open: return "Open" + ends_of(session);
    case ServerSession::State::Discarding: return "Discarding";
    case ServerSession::State::Closed: return "Closed";
  }
  return "?";
}

ClientSession client_in(const std::string& state) {
  ClientSession session;
  if (state == "Idle") return session;
  if (state == "Closed") {
    session.sent_close_notify();
    return session;
  }
  session.sent_open();
  if (state.starts_with("Open,") || state == "Open")
    REQUIRE(session.on_message(MessageType::Accept) == Action::Accepted);
  if (state == "Refused") REQUIRE(session.on_message(MessageType::Refuse) == Action::Refused);
  if (state.ends_with("END sent")) session.sent_end();
  if (state.ends_with("END received")) REQUIRE(session.on_message(MessageType::End) == Action::PeerEnded);
  REQUIRE(name_of(session) == state);
  return session;
}

ServerSession server_in(const std::string& state, bool is_going_away = false) {
  ServerSession session;
  if (state != "Idle" && state != "Closed") {
    REQUIRE(session.on_message(MessageType::Open) == Action::StartConnect);
    if (state.starts_with("Open")) session.sent_accept();
    if (state == "Discarding") session.sent_refuse();
    if (state.ends_with("END sent")) session.sent_end();
    if (state.ends_with("END received")) REQUIRE(session.on_message(MessageType::End) == Action::PeerEnded);
  }
  if (state == "Closed") session.sent_close_notify();
  if (is_going_away) session.sent_go_away();
  REQUIRE(name_of(session) == state);
  return session;
}

constexpr std::uint8_t kMalformedOpen[] = {0x01};
constexpr std::uint8_t kMalformedOther[] = {0x04, 0x01};

// Every action of the tables' rows. Types that a row names as a range are all tried.
template <typename Session>
std::vector<Action> receive(const std::string& row, const std::function<Session()>& make,
                            std::set<std::string>& states) {
  std::vector<Action> actions;
  const auto with = [&](auto&& event) {
    Session session = make();
    actions.push_back(event(session));
    states.insert(name_of(session));
  };
  const auto with_type = [&](unsigned type) {
    with([type](Session& session) { return session.on_message(static_cast<MessageType>(type)); });
  };
  static const std::map<std::string, MessageType> kRows = {
      {"OPEN", MessageType::Open},     {"OPEN after our GOAWAY", MessageType::Open},
      {"ACCEPT", MessageType::Accept}, {"REFUSE", MessageType::Refuse},
      {"END", MessageType::End},       {"RESET", MessageType::Reset},
      {"GOAWAY", MessageType::GoAway}, {"GOAWAY again", MessageType::GoAway},
      {"TICKET", MessageType::Ticket}};
  if (const auto known = kRows.find(row); known != kRows.end()) {
    with_type(static_cast<unsigned>(known->second));
  } else if (row == "unknown below 0x80") {
    for (unsigned type = 8; type < 0x80; ++type) with_type(type);
  } else if (row == "unknown from 0x80") {
    for (unsigned type = 0x80; type < 0x100; ++type) with_type(type);
  } else if (row == "malformed OPEN") {
    with([](Session& session) { return session.on_malformed(kMalformedOpen); });
  } else if (row == "malformed" || row == "malformed, other") {
    with([](Session& session) { return session.on_malformed(kMalformedOther); });
    with([](Session& session) { return session.on_malformed({}); });
  } else if (row == "data") {
    with([](Session& session) { return session.on_data(); });
  } else if (row == "close_notify") {
    with([](Session& session) { return session.on_close_notify(); });
  } else if (row == "truncation") {
    with([](Session& session) { return session.on_truncated(); });
  }
  INFO("no event for the row " << row);
  REQUIRE_FALSE(actions.empty());
  return actions;
}

template <typename Session>
void check_received(const TableCell& cell, const std::function<Session()>& make) {
  CAPTURE(cell.row, cell.column, cell.text);
  const Expected expected = expected_of(cell);
  std::set<std::string> states;
  for (const Action action : receive<Session>(cell.row, make, states)) {
    CHECK(static_cast<int>(action) == static_cast<int>(expected.action));
  }
  CHECK(states == std::set<std::string>{expected.state});
}

// What the state says about sending `row`, and how to say that it was sent.
template <typename Session>
struct Sending {
  std::function<bool(const Session&)> may_send;
  std::function<void(Session&)> send;
};

template <typename Session>
void check_sent(const TableCell& cell, Session session, const std::map<std::string, Sending<Session>>& rows) {
  CAPTURE(cell.row, cell.column, cell.text);
  const auto row = rows.find(cell.row);
  REQUIRE(row != rows.end());
  const bool is_allowed = cell.text != "-";
  CHECK(row->second.may_send(session) == is_allowed);
  if (!is_allowed) return;
  row->second.send(session);
  CHECK(name_of(session) == cell.text);
}

template <typename Session>
std::map<std::string, Sending<Session>> common_rows() {
  return {
      {"data", {[](const Session& session) { return session.may_send_data(); }, [](Session&) {}}},
      {"END",
       {[](const Session& session) { return session.may_send_end(); }, [](Session& session) { session.sent_end(); }}},
      {"RESET",
       {[](const Session& session) { return session.may_send_reset(); },
        [](Session& session) { session.sent_reset(); }}},
      {"close_notify",
       {[](const Session& session) { return session.may_close(); },
        [](Session& session) { session.sent_close_notify(); }}},
  };
}

}  // namespace

TEST_CASE("the client does what its table says about everything that it receives") {
  const auto table = document_table("client-received");
  REQUIRE(table.size() == 14 * 8);
  for (const TableCell& cell : table) {
    check_received<ClientSession>(cell, [&cell] {
      if (cell.row != "GOAWAY again") return client_in(cell.column);
      ClientSession session = client_in(cell.column == "Idle" ? "Open" : cell.column);
      if (cell.column != "Closed") REQUIRE(session.on_message(MessageType::GoAway) == Action::PeerGoingAway);
      if (cell.column == "Idle") {
        session.sent_end();
        REQUIRE(session.on_message(MessageType::End) == Action::PeerEnded);
      }
      return session;
    });
  }
}

TEST_CASE("the server does what its table says about everything that it receives") {
  const auto table = document_table("server-received");
  REQUIRE(table.size() == 15 * 8);
  for (const TableCell& cell : table) {
    check_received<ServerSession>(cell, [&] { return server_in(cell.column, cell.row == "OPEN after our GOAWAY"); });
  }
}

TEST_CASE("the client may send what its table says, and is then where it says") {
  auto rows = common_rows<ClientSession>();
  rows["OPEN"] = {[](const ClientSession& session) { return session.can_reuse(); },
                  [](ClientSession& session) { session.sent_open(); }};
  const auto table = document_table("client-sent");
  REQUIRE(table.size() == 5 * 8);
  for (const TableCell& cell : table) check_sent(cell, client_in(cell.column), rows);
}

TEST_CASE("the server may send what its table says, and is then where it says") {
  auto rows = common_rows<ServerSession>();
  const auto may_answer = [](const ServerSession& session) { return session.may_answer(); };
  const auto is_open = [](const ServerSession& session) { return !session.is_closed(); };
  rows["ACCEPT"] = {may_answer, [](ServerSession& session) { session.sent_accept(); }};
  rows["REFUSE"] = {may_answer, [](ServerSession& session) { session.sent_refuse(); }};
  rows["GOAWAY"] = {is_open, [](ServerSession& session) { session.sent_go_away(); }};
  rows["TICKET"] = {is_open, [](ServerSession&) {}};
  const auto table = document_table("server-sent");
  REQUIRE(table.size() == 8 * 8);
  for (const TableCell& cell : table) check_sent(cell, server_in(cell.column), rows);
}

TEST_CASE("a client that heard GOAWAY opens nothing more") {
  ClientSession session = client_in("Open");
  REQUIRE(session.on_message(MessageType::GoAway) == Action::PeerGoingAway);
  session.sent_end();
  REQUIRE(session.on_message(MessageType::End) == Action::PeerEnded);
  CHECK(session.is_idle());
  CHECK_FALSE(session.can_reuse());
}

TEST_CASE("a server that said GOAWAY keeps no tunnel for another exchange") {
  ServerSession session = server_in("Open, END received", true);
  CHECK(session.may_send_data());  // the live one goes on
  session.sent_end();
  CHECK(session.is_idle());
  CHECK_FALSE(session.can_reuse());
}
