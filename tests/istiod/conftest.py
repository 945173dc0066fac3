# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one real control plane for all tests of a process, and worlds of two nodes that are attached to it."""

import os
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "harness"))

from culvert_harness import World, cluster as clusters  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and world is not None:
        for node in world.nodes.values():
            if node.agent.log():
                report.sections.append((f"culvertd of {node.name}", node.agent.log()[-6000:]))
            for log in sorted(node.directory.glob("install-cni.*.log")):
                report.sections.append((f"{log.name} of {node.name}", log.read_text(errors="replace")[-6000:]))
        report.sections.append(("istiod", item.funcargs["cluster"].log("istiod")[-3000:]))


@pytest.fixture(scope="session")
def cluster(worker_id):
    """One for each process of pytest-xdist."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if clusters.tools() is None:
        pytest.skip("no control plane: scripts/setup --cluster builds one")
    with clusters.Cluster(f"istiod-suite-{worker_id}") as made:
        yield made


@pytest.fixture
def world(request, cluster):
    with World(request.node.nodeid) as made:
        cluster.attach(made)
        yield made
        cluster.detach(made)


@pytest.fixture
def mesh(world, cluster):
    """`client` on node a and `server` on node b, in the namespace shop: objects in the cluster, and pods added by CNI."""
    for name, node in (("client", "a"), ("server", "b")):
        cluster.add_workload(world, world.declare(name, node, namespace="shop"))
    world.start_agents()
    world.add("client")
    world.add("server")
    return world
