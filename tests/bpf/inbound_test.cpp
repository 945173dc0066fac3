// SPDX-License-Identifier: Apache-2.0
// What reaches a joined pod from outside: plaintext goes to the agent, probes of the node and what was asked for go to the application.
#include <catch2/catch.hpp>

#include <cerrno>

#include <sys/socket.h>

#include "bed.hpp"
#include "core/netns.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

// Which of two listeners a connection from outside reaches: 'a'gent, app'l'ication, or '-' for none.
char who_answers(Bed& bed, int from_netns, const char* pod_address, std::uint16_t port, const UniqueFd& application) {
  const auto target = at(pod_address, port);
  auto client = bed.socket(from_netns, target.address.family());
  if (bed.connect(client.get(), target, 1000) != 0) return '-';
  const auto& agent = target.address.is_v4() ? bed.inbound_v4 : bed.inbound_v6;
  if (auto taken = accept_within(agent, 200)) {
    CHECK(local_endpoint(taken.get()) == target);
    CHECK(carries(client, taken, "hello agent"));
    CHECK(carries(taken, client, "hello client"));
    return 'a';
  }
  auto passed = accept_within(application, 200);
  if (!passed) return '-';
  CHECK(carries(client, passed, "hello application"));
  CHECK(carries(passed, client, "hello client"));
  return 'l';
}

// A datapath whose node is somewhere else: the bed's node namespace is then an outsider.
datapath::Datapath::Options outsider() { return {}; }

}  // namespace

TEST_CASE("plaintext from outside goes to the agent, probes of the node to the application") {
  for (const auto* address : {kPodV4, kPodV6}) {
    INFO(address);
    Bed bed("inbound");
    bed.join();
    const auto application = bed.listener(bed.pod.get(), at(address, 8080));
    // The bed's node namespace is the agent's node.
    CHECK(who_answers(bed, bed.node.get(), address, 8080, application) == 'l');
    CHECK(bed.counter("inbound_node") == 1);

    run_or_fail(
        ip_batch("", {"netns add cvb-inbound-far"}) + " && " +
        ip_batch("cvb-inbound-node", {"link add f0 type veth peer name eth0 netns cvb-inbound-far", "link set f0 up",
                                      "addr add 10.93.0.1/24 dev f0", "addr add fd93::1/64 dev f0 nodad"}) +
        " && " +
        ip_batch("cvb-inbound-far",
                 {"link set eth0 up", "addr add 10.93.0.2/24 dev eth0", "addr add fd93::2/64 dev eth0 nodad",
                  "route add default via 10.93.0.1", "route add default via fd93::1"}));
    {
      const auto far = open_netns("/run/netns/cvb-inbound-far");
      REQUIRE(far);
      CHECK(who_answers(bed, far->get(), address, 8080, application) == 'a');
      CHECK(bed.counter("inbound_taken") == 1);
      // The tunnel port belongs to the agent's ordinary listener.
      const auto tunnel = bed.listener(bed.pod.get(), at(address, 15008));
      CHECK(who_answers(bed, far->get(), address, 15008, tunnel) == 'l');
      CHECK(bed.counter("inbound_tunnel") == 1);
    }
    delete_netns("cvb-inbound-far");
  }
}

TEST_CASE("plaintext is never passed while no agent listens") {
  Bed bed("inbounddown", outsider());
  bed.options.node_netns_cookie = 1;  // nobody's: the node namespace is an outsider
  bed.restart_agent();
  bed.join();
  bed.close_listeners();
  for (const auto* address : {kPodV4, kPodV6}) {
    INFO(address);
    const auto application = bed.listener(bed.pod.get(), at(address, 8080));
    CHECK(who_answers(bed, bed.node.get(), address, 8080, application) == '-');
  }
  CHECK(bed.counter("drop_no_inbound_listener") >= 2);
}

TEST_CASE("inbound exclusions and bypass pass plaintext to the application") {
  Bed bed("inboundexcl", outsider());
  bed.options.node_netns_cookie = 1;
  bed.restart_agent();
  bed.plan.excluded_ports = {{.port = 9000, .is_inbound = true}, {.port = 8080, .is_inbound = false}};
  bed.join();
  const auto application = bed.listener(bed.pod.get(), at(kPodV4, 8080));
  const auto excluded = bed.listener(bed.pod.get(), at(kPodV4, 9000));
  CHECK(who_answers(bed, bed.node.get(), kPodV4, 8080, application) == 'a');
  CHECK(who_answers(bed, bed.node.get(), kPodV4, 9000, excluded) == 'l');
  CHECK(bed.counter("inbound_excluded") == 1);

  // The same pod again, with a range instead: the port is taken, the range is not.
  bed.plan.excluded_ports.clear();
  bed.plan.excluded_cidrs = {{.cidr = *Cidr::parse("10.91.0.0/30"), .is_inbound = true}};
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(who_answers(bed, bed.node.get(), kPodV4, 8080, application) == 'l');
  CHECK(bed.counter("inbound_excluded") == 2);

  bed.plan.excluded_cidrs.clear();
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(who_answers(bed, bed.node.get(), kPodV4, 9000, excluded) == 'a');

  bed.plan.bypass_inbound = true;
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(who_answers(bed, bed.node.get(), kPodV4, 8080, application) == 'l');
  CHECK(bed.counter("inbound_bypass") == 1);
}

TEST_CASE("a pod reaches itself and its loopback, but not the agent's ports") {
  Bed bed("inboundself");
  bed.join();
  for (const auto* address : {kPodV4, kPodV6, "127.0.0.1", "::1"}) {
    INFO(address);
    const auto application = bed.listener(bed.pod.get(), at(address, 8080));
    CHECK(who_answers(bed, bed.pod.get(), address, 8080, application) == 'l');
  }
  auto prying = bed.socket(bed.pod.get(), AF_INET);
  CHECK(bed.connect(prying.get(), at("127.0.0.1", 15001), 500) != 0);
  CHECK_FALSE(accept_within(bed.outbound_v4, 50));
  CHECK(bed.counter("drop_agent_port") >= 1);
}
