# SPDX-License-Identifier: Apache-2.0
"""Nodes and pods out of network namespaces, with real CNI calls, real agents and real programs.

Used by tests/netns, tests in guest kernels, scripts/demo and bench/. Standard library only; needs root.

    with World("my-test") as world:
        world.declare("client", node="a", namespace="shop")
        world.declare("server", node="b", namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.nginx(server, {"index.html": b"hello"})
        print(client.run(["curl", "-s", f"http://{server.v4}/"]).stdout)
"""

from . import programs, zds
from .agent import Agent
from .authority import Authority, Credentials
from .capture import Capture
from .cni import Chain, CniError
from .netns import Netns
from .pod import Pod
from .run import SLOW, WaitTimeout, scaled, wait_for
from .world import Node, Workload, World

__all__ = ["Agent", "Authority", "Capture", "Chain", "CniError", "Credentials", "Netns", "Node", "Pod", "SLOW", "WaitTimeout", "Workload",
           "World", "programs", "scaled", "wait_for", "zds"]
