# SPDX-License-Identifier: Apache-2.0
"""Connections to ports that are an ambient agent's, from and to pods that our own programs capture: ztunnel's matrix of malicious calls. What
an HBONE peer may ask for is in test_hbone_hostile_clients.py, pods with istio-cni's rules are in test_zds.py.
"""

import contextlib

import pytest
from culvert_harness import programs, wait_for
from test_fidelity import connect

PORTS = (15001, 15006, 15008, 15080, 15000, 15020, 15021)
REFUSED, CLOSED, HTTP = "no connection", "closed without a byte", "answered by HTTP"


@pytest.fixture
def town(world):
    """client and server are captured, stranger on the server's node is not."""
    world.declare("stranger", "b", namespace="plain", protocol="TCP")
    world.start_with(client="a", server="b")
    world.add("stranger", chain="plain")
    return world


def outcome(pod, host: str, port: int) -> str:
    try:
        connection = connect(pod, host, port, 3)
    except ConnectionResetError:  # accepted, and reset before connect() had looked
        return CLOSED
    except OSError:
        return REFUSED
    with contextlib.closing(connection):
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(100)
        except ConnectionError:
            return CLOSED
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer
    return HTTP if answer else CLOSED


OF_OTHERS = (CLOSED,) * 7
OF_A_NODE = (CLOSED,) * 5 + (HTTP, HTTP)
OWN = (REFUSED, REFUSED, CLOSED, REFUSED, REFUSED, REFUSED, REFUSED)
MATRIX = {
    "a captured pod to a node": ("client", ["a.v4", "b.v4"], OF_A_NODE),
    "a captured pod to itself": ("client", ["client.v4", "client.v6", "127.0.0.1", "::1"], OWN),
    "a captured pod to another": ("client", ["server.v4", "server.v6"], OF_OTHERS),
    "an uncaptured pod to a node": ("stranger", ["a.v4", "b.v4"], (REFUSED,) * 5 + (HTTP, HTTP)),
    "an uncaptured pod to a captured one": ("stranger", ["server.v4", "server.v6", "client.v4", "client.v6"], OF_OTHERS),
}


@pytest.mark.parametrize("case", MATRIX)
def test_a_call_to_an_agents_port_comes_to_nothing_and_begets_no_other(town, case):
    """ztunnel's outcomes, but that with our programs a pod is refused at once at its own 15001 and 15006, where ztunnel closes, and by a node without
    HBONE at 15008. 15020 and 15021 of a node are for everyone: metrics and readiness."""
    source, targets, expected = MATRIX[case]
    places = {**{f"{node.letter}.{family}": getattr(node, family) for node in (town.a, town.b) for family in ("v4", "v6")},
              **{f"{name}.{family}": getattr(pod, family) for name, pod in town.pods.items() for family in ("v4", "v6")}}
    for target in targets:
        found = tuple(outcome(town.pods[source], places.get(target, target), port) for port in PORTS)
        assert dict(zip(PORTS, found)) == dict(zip(PORTS, expected)), target
    wait_for(lambda: not (town.a.agent.ctl("connections") or town.b.agent.ctl("connections")), "everything to have ended")
    calls = len(PORTS) * len(targets)
    assert len(town.a.agent.access_log_so_far()) <= calls and len(town.b.agent.access_log_so_far()) <= calls
    programs.echo_server(town.pods["server"], 7002)
    with contextlib.closing(connect(town.pods["client"], town.pods["server"].v4, 7002)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
