# SPDX-License-Identifier: Apache-2.0
"""The rows of bench/control: each a function that gives one round's values."""

import contextlib
import dataclasses
import json
import subprocess
import time
from collections.abc import Callable

from culvert_harness import World, cluster as clusters, control_plane, programs, proto, scripted_ca, wait_for
from culvert_harness.run import binary

from .control_rig import ControlRig, settled_rss_mb

MANY, FEW = {"workloads": 100_000, "services": 5_000}, {"workloads": 1_000, "services": 50}
CHANGES = 400
VIP, PORT, ECHO_PORT = "10.96.0.10", 80, 7002
IDENTITIES, CA_ANSWER_S = 250, 0.02


class CannotMeasure(RuntimeError):
    """This machine lacks something; the row is left out."""


def mesh(shape: dict[str, int]) -> dict[str, float]:
    """One agent, one push of the whole mesh, then single changes of it."""
    with ControlRig() as rig:
        pushed = rig.ask("push", **shape)
        rig.agent.wait_ready()
        values = {"push_s": pushed["seconds"], "push_mb": pushed["bytes"] / 1e6, "rss_mb": rig.settled_rss_mb(), "peak_mb": rig.peak_mb()}
        began = rig.cpu_s()
        changed = rig.ask("change", count=CHANGES)
        values |= {"change_cpu_us": (rig.cpu_s() - began) / CHANGES * 1e6, "change_us": changed["seconds"] * 1e6}
        values["rss_after_changes_mb"] = rig.settled_rss_mb()
    return values


def decisions() -> dict[str, float]:
    """bench_state: in one thread, without an agent."""
    done = subprocess.run([binary("bench_state")], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


def identities() -> dict[str, float]:
    """From the naming of pods of this node, each with an account of its own, until each has a certificate of a CA that takes its time."""
    def slow(ca: scripted_ca.ScriptedCa, call: scripted_ca.Call) -> list[str]:
        time.sleep(CA_ANSWER_S)
        return scripted_ca.right(ca, call)

    with World("bench-identities", nodes="a") as world, control_plane.ControlPlane(world, has_ca=True) as plane:
        plane.ca.fault = slow
        world.extra_config = {"log": {"level": "warn", "access": False}}
        world.start_agents()
        agent = world.a.agent
        pods = [proto.workload(f"pod-{i}", "bench", "node-a", [f"10.1.{1 + i // 200}.{1 + i % 200}"]) for i in range(IDENTITIES)]
        began = time.monotonic()
        plane.set(*pods)
        wait_for(lambda: sum(row["state"] == "available" for row in agent.ctl("certificates")) == IDENTITIES, "all certificates", 60, interval=0.05)
        return {"ready_s": time.monotonic() - began}


@contextlib.contextmanager
def under_istiod():
    """Two agents under a real istiod, with a client on one and a server on the other."""
    if clusters.tools() is None:
        raise CannotMeasure("there is no control plane: scripts/setup --cluster builds one")
    with clusters.Cluster("bench-control") as cluster, World("bench-istiod") as world:
        world.extra_config = {"log": {"level": "warn", "access": False}}
        cluster.attach(world)
        for name, node in (("client", "a"), ("server", "b")):
            cluster.add_workload(world, world.declare(name, node, namespace="shop"))
        world.start_agents()
        for name in ("client", "server"):
            world.add(name)
        yield world, cluster


def istiod() -> dict[str, float]:
    """Memory of an agent that carries nothing, and the time from kubectl's return until a new connection notices what it changed."""
    with under_istiod() as (world, cluster):
        client, server = world.pods["client"], world.pods["server"]
        values = {"idle_rss_mb": max(settled_rss_mb(node.agent.pid) for node in world.nodes.values())}
        programs.echo_server(server, ECHO_PORT)
        cluster.add_service("web", "shop", VIP, PORT, ECHO_PORT, "server", [("server", server.v4, "node-b")])
        wait_for(lambda: answers(client), "the service to answer", 20)
        took = []
        for is_ready in (False, True) * 4:
            cluster.set_status("pod", "shop", "server", {"conditions": [{"type": "Ready", "status": str(is_ready)}]})
            began = time.monotonic()
            wait_for(lambda wanted=is_ready: answers(client) == wanted, "the change to take effect", 20, interval=0.002)
            took.append(time.monotonic() - began)
        values["effect_s"] = sorted(took)[len(took) // 2]
    return values


def answers(client) -> bool:
    """Whether an echo comes back on a new connection to the service."""
    try:
        with contextlib.closing(client.netns.socket()) as connection:
            connection.settimeout(5)
            connection.connect((VIP, PORT))
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


@dataclasses.dataclass(frozen=True)
class ControlRow:
    name: str
    about: str
    measure: Callable[[], dict[str, float]]
    programs: tuple[str, ...]
    show: tuple[str, ...]


AGENT = ("culvertd", "culvertctl", "culvert-cni")
MESH_VALUES = ("push_s", "rss_mb", "peak_mb", "change_cpu_us", "change_us")
ROWS = (
    ControlRow("many", "one agent that is pushed 100,000 workloads and 5,000 services, then single changes", lambda: mesh(MANY), AGENT, MESH_VALUES),
    ControlRow("few", "the same with 1,000 and 50", lambda: mesh(FEW), AGENT, MESH_VALUES),
    ControlRow("state", "decisions, policies and changes in one thread (bench_state)", decisions, ("bench_state",),
               ("decision_service_us", "decision_pod_us", "policy_us", "change_many_us", "change_few_us")),
    ControlRow("identities", "250 identities of one node, certificates from a CA that answers in 20 ms", identities, AGENT, ("ready_s",)),
    ControlRow("istiod", "two agents under a real istiod: idle memory, and a change by kubectl", istiod, (*AGENT, "flowtool"),
               ("idle_rss_mb", "effect_s")),
)
