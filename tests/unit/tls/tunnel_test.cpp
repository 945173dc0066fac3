// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "support.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;

TEST_CASE("bytes go both ways through a tunnel") {
  const Engine engine = GENERATE(Engine::UserEvp, Engine::UserIpsecMb);
  Tunnels tunnels(user_plan(engine), user_plan(engine));
  CHECK(send_data(tunnels.client_end, tunnels.client, "hello").bytes == 5);
  CHECK(receive_until(tunnels.server_end, tunnels.server, [](const Got& got) { return got.data.size() >= 5; }).data == "hello");
  CHECK(send_data(tunnels.server_end, tunnels.server, "welcome").bytes == 7);
  CHECK(receive_until(tunnels.client_end, tunnels.client, [](const Got& got) { return got.data.size() >= 7; }).data ==
        "welcome");
}

TEST_CASE("three megabytes arrive byte for byte in batches") {
  const Engine engine = GENERATE(Engine::UserEvp, Engine::UserIpsecMb);
  Tunnels tunnels(user_plan(engine), user_plan(engine));
  const std::string data = pattern(3'000'000);
  CHECK((transfer(tunnels.client_end, tunnels.client, tunnels.server_end, tunnels.server, data) == data));
  CHECK((transfer(tunnels.server_end, tunnels.server, tunnels.client_end, tunnels.client, data) == data));
  CHECK(tunnels.client_end.pool.lent_bytes() == 0);
  CHECK(tunnels.server_end.pool.lent_bytes() == 0);
}
