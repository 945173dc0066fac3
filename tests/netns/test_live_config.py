# SPDX-License-Identifier: Apache-2.0
"""What a running agent takes over from a changed configuration file, without a restart and without touching live connections."""

import contextlib
import socket
import time

from culvert_harness import programs, scaled, wait_for


def connect(pod, host: str, port: int, timeout: float = 10) -> socket.socket:
    connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.settimeout(scaled(timeout))
    connection.connect((host, port))
    return connection


def test_tunnel_time_limits_follow_the_file(world):
    """A silent peer holds its place for the new limit, while a connection from before goes on; tunnels that become idle end by the new limit."""
    world.extra_config = {"tunnel": {"handshake": {"timeout": "2m"}, "pool": {"idle_timeout": "1h"}}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.declare("stranger", "a", namespace="outside")
    world.namespaces["outside"] = {"enrol": False}
    world.start_agents()
    client, server, stranger = world.add("client"), world.add("server"), world.add("stranger", chain="plain")
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as before:
        before.sendall(b"x")
        assert before.recv(1) == b"x"
        world.extra_config = {"tunnel": {"handshake": {"timeout": "1s"}, "pool": {"idle_timeout": "1s"}}}
        world.reload()
        with contextlib.closing(connect(stranger, server.v4, 15008)) as silent:
            silent.settimeout(scaled(10))
            with contextlib.suppress(ConnectionResetError):
                assert silent.recv(100)[:1] in (b"", b"\x15")
        before.sendall(b"y")
        assert before.recv(1) == b"y"
    wait_for(lambda: world.a.agent.metric("culvert_tunnels_open") == 0, "the idle tunnel to be closed by the new limit", 10)
