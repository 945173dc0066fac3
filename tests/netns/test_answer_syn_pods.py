# SPDX-License-Identifier: Apache-2.0
"""When SYNs are answered, pod by pod: the file's word, the command's, and the node's for whoever has none."""

import contextlib
import errno

from culvert_harness import programs, wait_for
from test_answer_syn import CLOSED_PORT, connect_error, echoes, new_socket



def test_pods_of_one_node_may_differ_and_change_while_they_run(world):
    """The node answers at once; one pod of the file waits for the far end, one joined by hand too, the third follows the node."""
    names = ("client", "manual", "follows")
    for name in names:
        world.declare(name, "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    agent = world.a.agent
    pods = {name: world.make_pod(name, chain="plain") for name in names}
    for pod in pods.values():
        pod.cni_add()
    server = world.add("server")

    def listed(when: str | None) -> None:
        entry = {"id": "client", "netns": f"/run/netns/{pods['client'].netns.name}", "namespace": "shop", "service_account": "client"}
        agent.extra_config = {"pods": [entry | ({"answer_syn": when} if when else {})]}
        agent.write_config()

    def refused(name: str) -> bool:
        return connect_error(pods[name], server.v4, CLOSED_PORT) == errno.ECONNREFUSED

    for name, more in (("manual", ["--answer-syn", "after_connect"]), ("follows", [])):
        agent.ctl("join", f"/run/netns/{pods[name].netns.name}", "--id", name, "--namespace", "shop", "--service-account", name, *more)
    listed("after_connect")
    wait_for(lambda: {pod["id"] for pod in agent.ctl("pods") if pod["state"] == "joined"} == set(names), "the pods to join")
    wait_for(lambda: refused("client"), "connect() to be refused where the far end refuses")
    assert refused("manual") and not refused("follows")
    programs.echo_server(server)
    for name in names:
        with contextlib.closing(new_socket(pods[name], server.v4)) as made:
            made.connect((server.v4, 7002))
            assert echoes(made)
    listed(None)
    wait_for(lambda: not refused("client"), "the pod to follow the node")
    assert refused("manual")
    agent.stop()
    agent.start()  # what was asked for by hand outlives the agent
    wait_for(lambda: refused("manual") and not refused("follows"), "the pods as they were")
