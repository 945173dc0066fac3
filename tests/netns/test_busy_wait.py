# SPDX-License-Identifier: Apache-2.0
"""Workers that look for the next event before they sleep: while two programs wait for each other, not on an idle node, and only where it is asked for."""

import contextlib
import time

from culvert_harness import programs, wait_for
from culvert_harness.traffic import connect, echoes

SPENT = "culvert_busy_wait_seconds_total"


def start(world, busy_wait_us: int):
    world.extra_config = {"busy_wait_us": busy_wait_us}
    world.start_with(client="a", server="b")
    programs.echo_server(world.pods["server"])
    return world.pods["client"], world.pods["server"]


def converse(client, server, seconds: float) -> int:
    """Round trips on one connection, one after the other."""
    end, count = time.monotonic() + seconds, 0
    with contextlib.closing(connect(client, server.v4)) as connection:
        while time.monotonic() < end:
            assert echoes(connection)
            count += 1
    return count


def test_a_conversation_is_looked_for_and_an_idle_agent_sleeps(world):
    client, server = start(world, 1000)
    agents = [world.a.agent, world.b.agent]

    def both_looked() -> bool:
        converse(client, server, 0.5)
        return all(agent.metric(SPENT) > 0 for agent in agents)
    wait_for(both_looked, "both agents to have looked for events", 30)
    # Nothing is said any more: what is looked in vain is the rest of a budget of five looks, for each of two workers.
    before, cpu = [agent.metric(SPENT) for agent in agents], [agent.cpu_seconds() for agent in agents]
    time.sleep(3)
    assert all(agent.metric(SPENT) - then < 0.05 for agent, then in zip(agents, before, strict=True))
    assert all(agent.cpu_seconds() - then < 0.4 for agent, then in zip(agents, cpu, strict=True)), "an idle agent takes CPU time"


def test_it_is_turned_on_and_off_while_the_agent_runs(world):
    client, server = start(world, 0)
    agent = world.a.agent
    assert converse(client, server, 1) > 100
    assert agent.metric(SPENT) == 0
    agent.extra_config = {"busy_wait_us": 1000}
    agent.reload()

    def looked() -> bool:
        converse(client, server, 0.5)
        return agent.metric(SPENT) > 0
    wait_for(looked, "the new setting to be in force", 30)
    agent.extra_config = {"busy_wait_us": 0}
    taken = agent.log().count("configuration in force")
    agent.reload()
    wait_for(lambda: agent.log().count("configuration in force") > taken, "the old setting to be in force")

    def stays() -> bool:
        spent = agent.metric(SPENT)
        converse(client, server, 0.5)
        return agent.metric(SPENT) == spent
    wait_for(stays, "workers to sleep again", 10)
