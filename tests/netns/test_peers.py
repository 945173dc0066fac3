# SPDX-License-Identifier: Apache-2.0
"""The peers that Culvert is tested against, against each other: Envoy, python3-h2 and OpenSSL, in pods without Culvert.

What these tests show to work between two implementations that are not ours, and then fails with Culvert on one side, is Culvert's.
"""

import contextlib
import socket
import struct

import pytest
from culvert_harness import Authority, envoy, frames, h2peer, programs, scaled, tls13, wait_for

LOCAL = 9000
# What the kernel's TLS sees of `frames.Wire.odd_data`; with Culvert at the other end also in the guests, by either engine.
RECORDS = [pytest.param(how, marks=(pytest.mark.core, pytest.mark.engines)) for how in ("key updates", "tiny records", "padded records")]


@pytest.fixture
def town(plain):
    """Pods client and server, credentials for each, and an application on server's port 7001."""
    plain.authority = Authority.of(plain)
    plain.credentials = {name: plain.authority.credentials(pod.identity) for name, pod in plain.pods.items()}
    programs.transfer_server(plain.pods["server"])
    return plain


def start_envoy_client(town, port: int = 7001) -> None:
    client, server = town.pods["client"], town.pods["server"]
    envoy.start(client, "client", *envoy.hbone_client(town.credentials["client"], local_port=LOCAL, authority=f"{server.v4}:{port}",
                                                      next_hop=server.v4, identity=server.identity, fields={"baggage": "k8s.namespace.name=shop"}))


def start_envoy_server(town) -> None:
    envoy.start(town.pods["server"], "server", *envoy.hbone_server(town.credentials["server"]))


def context(town, name: str, **options) -> tls13.Context:
    return tls13.Context(town.credentials[name], **options)


@pytest.mark.parametrize("server_is", ["envoy", "h2"])
def test_an_envoy_client_moves_bytes_exactly(town, server_is):
    client, server = town.pods["client"], town.pods["server"]
    with contextlib.ExitStack() as stack:
        if server_is == "envoy":
            start_envoy_server(town)
        else:
            made = stack.enter_context(h2peer.Server(server, context(town, "server")))
        start_envoy_client(town)
        lines = client.flowtool("transfer", "127.0.0.1", LOCAL, "--up", 1_000_000, "--down", 2_000_000, "--parallel", 4, "--server-waits-for-eof")
        assert len(lines) == 4 and all(line["ok"] for line in lines), lines
        if server_is == "h2":
            assert {request[":authority"] for request in made.requests} == {f"{server.v4}:7001"}
            assert {request["baggage"] for request in made.requests} == {"k8s.namespace.name=shop"}
            assert made.accepted == 1, "Envoy pools its streams on one connection"


def test_an_h2_client_moves_bytes_through_envoys_server(town):
    client, server = town.pods["client"], town.pods["server"]
    start_envoy_server(town)
    programs.echo_server(server)
    with h2peer.Link.dial(client, server.v4, context(town, "client")) as link:
        assert link.tls.alpn == "h2"
        streams = [link.open(f"{server.v4}:7002") for _ in range(10)]
        assert {stream.status for stream in streams} == {200}
        for number, stream in enumerate(streams):
            stream.sendall(bytes([number]) * 300_000)
        for number, stream in enumerate(streams):
            assert stream.recv_exactly(300_000) == bytes([number]) * 300_000
            stream.shutdown()
            assert stream.recv() == b""


def test_envoys_server_ends_the_stream_when_its_application_half_closes_first(town):
    """A limit of Envoy's; what an HBONE client behind Envoy or Culvert sees of it is that Envoy's."""
    start_envoy_server(town)
    client, server = town.pods["client"], town.pods["server"]
    with contextlib.closing(server.netns.socket()) as listener, frames.Wire.dial(client, server.v4, context(town, "client")) as wire:
        listener.bind((server.v4, 7100))
        listener.listen()
        assert wire.open(1, f"{server.v4}:7100") == 200
        application, _ = listener.accept()
        application.sendall(b"all")
        application.shutdown(socket.SHUT_WR)
        assert wire.read_data(1, 4, gives_back=False) == b"all"  # and the end, in the same frame or in one of its own
        assert wire.next().code == frames.NO_ERROR


def test_envoys_server_says_503_where_nobody_listens(town):
    start_envoy_server(town)
    client, server = town.pods["client"], town.pods["server"]
    with h2peer.Link.dial(client, server.v4, context(town, "client")) as link:
        assert link.open(f"{server.v4}:7999").status == 503


def test_half_close_passes_an_envoy_client_and_an_h2_server_both_ways(town):
    client, server = town.pods["client"], town.pods["server"]
    with h2peer.Server(server, context(town, "server")):
        start_envoy_client(town)
        for options in (("--server-waits-for-eof",), ("--ending", "half-close")):
            [line] = client.flowtool("transfer", "127.0.0.1", LOCAL, "--up", 100_000, "--down", 300_000, *options)
            assert line["ok"], line


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_by_an_application_is_a_reset_stream_between_envoy_and_h2(town, who):
    """Envoy's client says INTERNAL_ERROR and its server CONNECT_ERROR; neither is a clean end."""
    client, server = town.pods["client"], town.pods["server"]
    if who == "client":
        codes = []

        def script(wire: frames.Wire, _number: int) -> None:
            wire.read_preface()
            wire.greet()
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            while (frame := wire.next()).kind != frames.RST_STREAM:
                assert not frame.is_end, "a clean end for a reset"
            codes.append(frame.code)

        with h2peer.Scripted(server, context(town, "server"), script) as peer:
            start_envoy_client(town)
            connection = client.netns.socket()
            connection.connect(("127.0.0.1", LOCAL))
            connection.sendall(b"x")
            wait_for(lambda: peer.accepted, "Envoy's connection")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            wait_for(lambda: codes, "RST_STREAM")
        assert codes == [frames.INTERNAL_ERROR]
    else:
        start_envoy_server(town)
        with contextlib.closing(server.netns.socket()) as listener, h2peer.Link.dial(client, server.v4, context(town, "client")) as link:
            listener.bind((server.v4, 7100))
            listener.listen()
            stream = link.open(f"{server.v4}:7100")
            application, _ = listener.accept()
            assert stream.status == 200
            stream.sendall(b"x")
            assert application.recv(1) == b"x"
            application.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            application.close()
            with pytest.raises(h2peer.StreamReset) as caught:
                stream.recv()
            assert caught.value.code == frames.CONNECT_ERROR


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_envoy_waypoint_refuses_by_header_and_forwards_the_rest(town, family):
    """Client -> waypoint -> server, each with an identity of its own; the rule is HTTP, so the waypoint has looked inside."""
    town.declare("waypoint", "b", namespace="shop")
    client, server, waypoint = town.pods["client"], town.pods["server"], town.add("waypoint", chain="plain")
    host = getattr(server, family) if family == "v4" else f"[{server.v6}]"
    credentials = town.authority.credentials(waypoint.identity)
    programs.nginx(server, {"index.html": b"hello"})
    start_envoy_server(town)
    envoy.start(waypoint, "waypoint", *envoy.waypoint(credentials, {f"{host}:80": (getattr(server, family), f"{host}:80", server.identity)}))
    envoy.start(client, "client", *envoy.hbone_client(town.credentials["client"], local_port=LOCAL, authority=f"{host}:80",
                                                      next_hop=getattr(waypoint, family), identity=waypoint.identity))
    answer = programs.curl(client, f"http://127.0.0.1:{LOCAL}/", "-i").stdout
    assert "hello" in answer and "x-waypoint: envoy" in answer
    refused = programs.curl(client, f"http://127.0.0.1:{LOCAL}/", "-i", "-H", "x-forbidden: yes").stdout
    assert refused.startswith("HTTP/1.1 403"), refused


def test_envoy_refuses_a_server_of_another_identity(town):
    client, server = town.pods["client"], town.pods["server"]
    with h2peer.Server(server, tls13.Context(town.authority.credentials("spiffe://cluster.local/ns/shop/sa/other"))) as peer:
        start_envoy_client(town)
        with contextlib.closing(client.netns.socket()) as connection:
            connection.settimeout(scaled(5))
            connection.connect(("127.0.0.1", LOCAL))
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert not peer.requests


@pytest.mark.parametrize("how", ["key updates", "tiny records", "padded records", "padded frames", "unknown frames"])
def test_envoy_bears_what_the_scripted_client_does_to_records_and_frames(town, how):
    client, server = town.pods["client"], town.pods["server"]
    start_envoy_server(town)
    programs.echo_server(server)
    with frames.Wire.dial(client, server.v4, context(town, "client", padding=16384 if how == "padded records" else 0)) as wire:
        assert wire.open(1, f"{server.v4}:7002") == 200
        sent = b"".join(wire.odd_data(how, 1, number) for number in range(20))
        assert wire.read_data(1, len(sent)) == sent


def test_nghttpd_speaks_tls_and_knows_no_connect(town):
    """The server that a mistaken address leads to: HTTP/2, but no tunnel."""
    client, server = town.pods["client"], town.pods["server"]
    credentials = town.credentials["server"]
    root = town.directory / "htdocs"
    root.mkdir()
    server.start(["nghttpd", "-v", "--verify-client", "-d", str(root), "15008", credentials.key, credentials.certificate], name="nghttpd")
    server.netns.wait_listening(15008)
    with frames.Wire.dial(client, server.v4, context(town, "client")) as wire:
        wire.headers(1, [(":method", "CONNECT"), (":authority", f"{server.v4}:7001")], end=True)
        while (seen := wire.next()).kind not in (frames.RST_STREAM, frames.HEADERS):
            pass
    assert seen.kind == frames.RST_STREAM or dict(wire.decoder.decode(seen.payload))[":status"] != "200"
