// SPDX-License-Identifier: Apache-2.0
// Two machines and the two ordered streams between them, driven at random: whatever crosses on the way, honest ends never
// find a protocol error, agree on every exchange, and an OPEN that the client takes for untried was tried by nobody.
#include "direct/session.hpp"

#include <deque>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

using namespace culvert::direct;  // NOLINT(google-build-using-namespace): a test of this module

namespace {

struct Item {
  enum class Kind { Message, Data, CloseNotify };
  Kind kind = Kind::Message;
  MessageType type = MessageType::Open;
  int exchange = 0;  // for the test's eyes only
};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {}

  void step() {
    switch (random_() % 12) {
      case 0:
      case 1:
      case 2: client_receives(); break;
      case 3:
      case 4:
      case 5: server_receives(); break;
      case 6:
      case 7:
      case 8: client_sends(); break;
      default: server_sends(); break;
    }
  }
  [[nodiscard]] bool is_over() const {
    return client_.is_closed() && server_.is_closed() && to_client_.empty() && to_server_.empty();
  }
  [[nodiscard]] int exchanges() const { return client_exchange_; }
  [[nodiscard]] int untried() const { return untried_; }

 private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  static void put(std::deque<Item>& way, MessageType type, int exchange = 0) {
    way.push_back({Item::Kind::Message, type, exchange});
  }

  void client_sends() {
    if (client_closing_) return;
    if (client_.can_reuse() && chance(2)) {
      client_.sent_open();
      put(to_server_, MessageType::Open, ++client_exchange_);
    } else if (client_.may_send_data() && chance(2)) {
      to_server_.push_back({Item::Kind::Data, MessageType::Open, client_exchange_});
    } else if (client_.may_send_end() && chance(2)) {
      client_.sent_end();
      put(to_server_, MessageType::End);
    } else if (client_.may_send_reset() && chance(60)) {
      client_.sent_reset();
      put(to_server_, MessageType::Reset);
      client_closes();
    } else if (client_.may_close() && chance(200)) {
      client_closes();
    }
  }

  void server_sends() {
    if (server_closing_) return;
    if (server_.may_answer() && chance(2)) {
      const bool accepts = must_refuse_ ? false : chance(2);
      must_refuse_ = false;
      put(to_client_, accepts ? MessageType::Accept : MessageType::Refuse, server_exchange_);
      if (accepts) {
        server_.sent_accept();
      } else {
        server_.sent_refuse();
      }
    } else if (server_.may_send_data() && chance(2)) {
      to_client_.push_back({Item::Kind::Data, MessageType::Open, server_exchange_});
    } else if (server_.may_send_end() && chance(2)) {
      server_.sent_end();
      put(to_client_, MessageType::End);
    } else if (server_.may_send_reset() && chance(60)) {
      server_.sent_reset();
      put(to_client_, MessageType::Reset);
      server_closes();
    } else if (server_.may_close() && chance(100)) {
      server_closes();
    } else if (!server_.is_closed() && chance(100)) {
      server_.sent_go_away();
      put(to_client_, MessageType::GoAway);
    } else if (!server_.is_closed() && chance(20)) {
      put(to_client_, MessageType::Ticket);
    }
  }

  void client_closes() {
    if (client_closing_) return;
    client_closing_ = true;
    client_.sent_close_notify();
    to_server_.push_back({Item::Kind::CloseNotify, MessageType::Open, 0});
  }
  void server_closes() {
    if (server_closing_) return;
    server_closing_ = true;
    server_.sent_close_notify();
    to_client_.push_back({Item::Kind::CloseNotify, MessageType::Open, 0});
  }

  void client_receives() {
    if (to_client_.empty()) return;
    const Item item = to_client_.front();
    to_client_.pop_front();
    Action action = Action::Discard;
    switch (item.kind) {
      case Item::Kind::Message: action = client_.on_message(item.type); break;
      case Item::Kind::Data: action = client_.on_data(); break;
      case Item::Kind::CloseNotify: action = client_.on_close_notify(); break;
    }
    REQUIRE(action != Action::ProtocolError);
    if (action == Action::Accepted || action == Action::Refused || action == Action::Deliver) {
      REQUIRE(item.exchange == client_exchange_);
    }
    if (action == Action::Untried) {
      ++untried_;
      REQUIRE(server_exchange_ < client_exchange_);
      untried_exchange_ = client_exchange_;
    }
    if (action == Action::PeerReset || action == Action::Untried || action == Action::Close) client_closes();
    if (client_.is_idle() && client_.is_peer_going_away()) client_closes();
  }

  void server_receives() {
    if (to_server_.empty()) return;
    const Item item = to_server_.front();
    to_server_.pop_front();
    Action action = Action::Discard;
    switch (item.kind) {
      case Item::Kind::Message: action = server_.on_message(item.type); break;
      case Item::Kind::Data: action = server_.on_data(); break;
      case Item::Kind::CloseNotify: action = server_.on_close_notify(); break;
    }
    REQUIRE(action != Action::ProtocolError);
    if (action == Action::StartConnect || action == Action::RefuseDraining) {
      server_exchange_ = item.exchange;
      must_refuse_ = action == Action::RefuseDraining;
      REQUIRE(untried_exchange_ != server_exchange_);
    }
    if (action == Action::Deliver) REQUIRE(item.exchange == server_exchange_);
    if (action == Action::PeerReset || action == Action::Close) server_closes();
  }

  std::minstd_rand random_;
  ClientSession client_;
  ServerSession server_;
  std::deque<Item> to_client_;
  std::deque<Item> to_server_;
  int client_exchange_ = 0;
  int server_exchange_ = 0;
  int untried_exchange_ = -1;
  int untried_ = 0;
  bool must_refuse_ = false;
  bool client_closing_ = false;
  bool server_closing_ = false;
};

}  // namespace

TEST_CASE("honest ends never find a protocol error, whatever crosses") {
  int exchanges = 0;
  int untried = 0;
  int over = 0;
  constexpr unsigned kWorlds = 3000;
  for (unsigned seed = 1; seed <= kWorlds; ++seed) {
    CAPTURE(seed);
    World world(seed);
    for (int step = 0; step < 5000 && !world.is_over(); ++step) world.step();
    exchanges += world.exchanges();
    untried += world.untried();
    over += world.is_over() ? 1 : 0;
  }
  // The histories are long and odd enough to mean something.
  CHECK(exchanges > static_cast<int>(kWorlds) * 4);
  CHECK(untried > 20);
  CHECK(over > static_cast<int>(kWorlds * 9 / 10));
}
