# SPDX-License-Identifier: Apache-2.0
"""Fixtures: `world` is two linked nodes; `mesh` adds agents and a client and a server pod, and shows its logs on failure."""

import os
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "harness"))

from culvert_harness import World, programs  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and world is not None:
        for node in world.nodes.values():
            if node.agent.log():
                report.sections.append((f"culvertd of {node.name}", node.agent.log()[-6000:]))


@pytest.fixture
def world(request):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with World(request.node.nodeid) as made:
        yield made


@pytest.fixture
def mesh(world):
    """Both agents; `client` on node a and `server` on node b, in the namespace shop, added by CNI."""
    world.start_with(client="a", server="b")
    return world


@pytest.fixture
def plain(world):
    """The same pods without a mesh and without agents."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.add("client", chain="plain")
    world.add("server", chain="plain")
    return world


@pytest.fixture
def plane(world):
    """A scripted control plane, which knows nobody yet; both agents have its address, and are not started."""
    from culvert_harness import control_plane
    with control_plane.ControlPlane(world) as made:
        yield made


@pytest.fixture
def town(plane):
    """`client` on node a and `server` with an echo server on node b, as the scripted control plane says."""
    world = plane.world
    plane.add(world.declare("client", "a", namespace="shop"), world.declare("server", "b", namespace="shop"))
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    return plane
