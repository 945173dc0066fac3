# SPDX-License-Identifier: Apache-2.0
"""culvertd under what deploy/systemd/culvertd.service leaves it: capabilities, umask, namespaces of its own. No systemd needed."""

import pathlib
import re

import pytest
from culvert_harness import programs, run

UNIT = run.ROOT / "deploy/systemd/culvertd.service"
KEPT = {"cap_net_admin", "cap_net_raw", "cap_bpf", "cap_perfmon", "cap_sys_admin", "cap_dac_override", "cap_sys_ptrace"}


def setting(name: str) -> str:
    [value] = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return value


def as_the_unit_says() -> list[str]:
    """PrivateTmp, ProtectHome and ProtectHostname are a mount namespace that follows the host's and an own UTS namespace."""
    capabilities = [name.lower().removeprefix("cap_") for name in setting("CapabilityBoundingSet").split()]
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["unshare", "--mount", "--propagation", "slave", "--uts", "setpriv", f"--bounding-set={bounding}", "--inh-caps=-all",
            "sh", "-c", f'umask {setting("UMask")}; exec "$@"', "culvertd"]


def capabilities(pid: int, which: str) -> set[str]:
    mask = int(re.search(rf"^{which}:\s+(\w+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1], 16)
    names = run.run(["setpriv", "--list-caps"]).stdout.split()
    return {f"cap_{names[bit]}" for bit in range(64) if mask >> bit & 1}


@pytest.fixture
def service(world):
    for node in world.nodes.values():
        node.agent.command_prefix = as_the_unit_says()
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    return world


def test_the_unit_is_tried_for_as_long_as_it_takes_and_leaves_the_mesh_file():
    """systemd's own limit is five starts in ten seconds; pods wait for the agent, and culvert-cni reads mesh.json while it is away."""
    assert setting("Restart") == "always" and setting("StartLimitIntervalSec") == "0"
    assert setting("RuntimeDirectoryPreserve") == "yes"
    assert setting("After") == setting("Wants") == "network-online.target"


def test_pods_join_talk_and_leave_and_a_restarted_agent_finds_them_again(service):
    client, server = service.add("client"), service.add("server")
    programs.transfer_server(server)
    for restart in (False, True):
        if restart:
            service.a.agent.stop()
            service.a.agent.start()
        for host in (server.v4, server.v6):
            [line] = client.flowtool("transfer", host, 7001, "--up", 500_000, "--down", 500_000)
            assert line["ok"], line
    client.cni_check()
    client.cni_delete()
    run.wait_for(lambda: not service.a.agent.ctl("pods"), "the pod to have left")


def test_it_keeps_the_capabilities_that_the_threat_model_names_and_no_other(service):
    pid = service.a.agent.pid
    assert capabilities(pid, "CapEff") == KEPT
    assert capabilities(pid, "CapBnd") == set()
    assert "capability" not in service.a.agent.log(), "the agent misses one"


def test_what_it_writes_into_its_state_directory_is_for_root_alone(service):
    service.add("client")
    for path in service.a.agent.state_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
