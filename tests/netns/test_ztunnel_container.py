# SPDX-License-Identifier: Apache-2.0
"""culvertd in the container that ztunnel's chart makes, with only the image changed: a read-only root, /tmp and istio-cni's directory, no bpffs, no configuration
file, three capabilities, "proxy ztunnel" and ztunnel's environment.
"""

import pathlib

import pytest
from culvert_harness import programs, run, wait_for, zds
from culvert_harness.control_plane import ControlPlane
from test_zds import pod_with_rules, reaches

# $0: the node's directory, whose mounts stand for the chart's. $1: culvertd; what else there is on the command line is not the chart's.
CONTAINER = """
mount -t tmpfs none /media && mkdir /media/node && mount --bind "$0" /media/node
mount -t tmpfs none /tmp
mount -t tmpfs -o ro none /sys/fs/bpf
for where in /run /var / ; do if mountpoint -q $where; then mount -o remount,bind,ro $where; fi; done
if touch /run/culvert-was-here /var/lib/culvert-was-here /culvert-was-here 2>/dev/null; then echo "the root is not read-only" >&2; exit 1; fi
exec setpriv --bounding-set=-all,+net_admin,+sys_admin,+net_raw --inh-caps=-all "$1" proxy ztunnel
"""


@pytest.fixture
def plane(world):
    with ControlPlane(world, has_ca=True) as made:
        yield made


def test_only_the_image_differs_from_ztunnels_container(world, plane):
    agent, directory = world.a.agent, world.a.directory
    inside = pathlib.Path("/media/node")
    plane.add(world.declare("client", "a", namespace="shop"), world.declare("server", "b", namespace="shop"))
    agent.command_prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", CONTAINER, str(directory)]
    for name in ("XDS_ROOT_CA", "CA_ROOT_CA", "AUTH_TOKEN"):
        agent.environment[name] = str(inside / pathlib.Path(agent.environment[name]).relative_to(directory))
    agent.environment |= {"INPOD_UDS": str(inside / "zds.sock"), "INPOD_ENABLED": "true", "RUST_LOG": "info", "LOG_FORMAT": "json", "NETWORK": "",
                          "ZTUNNEL_CPU_LIMIT": "2", "TERMINATION_GRACE_PERIOD_SECONDS": "30"}
    with zds.IstioCni(directory / "zds.sock") as cni:
        agent.start(wait=False)
        world.b.agent.start()
        client = pod_with_rules(world, "client")
        peer = cni.accept()
        peer.add(client)
        peer.ask(zds.SNAPSHOT)
        agent.wait_ready()
        server = world.add("server")
        programs.echo_server(server)
        programs.echo_server(client)
        link = world.capture()
        wait_for(lambda: reaches(client, server.v4, 7002) and reaches(client, server.v6, 7002), "the client to reach the server")
        assert reaches(server, client.v4, 7002)
        link.stop()
        link.assert_only_tunnels()
        assert "CapBnd:\t0000000000203000" in pathlib.Path(f"/proc/{agent.pid}/status").read_text()
        shown = run.run(["nsenter", f"--target={agent.pid}", "--mount", f"--net={world.a.netns.path}", run.binary("culvertctl"), "pods"])
        assert "client" in shown.stdout
        assert agent.stop() == 0
