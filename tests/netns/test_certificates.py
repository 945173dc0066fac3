# SPDX-License-Identifier: Apache-2.0
"""Certificates that are wrong, shown to the agent by openssl: by a client at 15008, and by a server that the agent dials.

The wrong ones are issued by the mesh's own CA (or, for one case, by another that looks alike), so that nothing but the named
mistake is wrong with them; a right one from the same hands is accepted, which shows that the test can tell.
"""

import contextlib
import socket

import pytest
from culvert_harness import Authority, programs, scaled, wait_for

GOOD = "URI:spiffe://cluster.local/ns/shop/sa/stranger"
CASES = {
    "expired": {"san": GOOD, "from": "20200101000000Z", "to": "20200102000000Z"},
    "not yet valid": {"san": GOOD, "from": "20700101000000Z", "to": "20700102000000Z"},
    "of another CA": {"san": GOOD, "ca": "other"},
    "of another trust domain": {"san": "URI:spiffe://elsewhere.org/ns/shop/sa/stranger"},
    "without a SAN": {"san": None},
    "with two SANs": {"san": GOOD + ",URI:spiffe://cluster.local/ns/shop/sa/server"},
    "with a DNS name only": {"san": "DNS:server.shop.svc"},
    "with a SPIFFE ID that is none": {"san": "URI:spiffe://cluster.local/shop/stranger"},
    "for no use in TLS": {"san": GOOD, "usage": "codeSigning"},
    "that is a CA": {"san": GOOD, "ca_flag": True},
}


@pytest.fixture
def shop(world):
    """Client and server in the mesh, and on each node a pod outside it where openssl plays the other agent."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.declare("stranger", "b", namespace="shop")
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    world.add("stranger", chain="plain")  # the mesh believes that an agent serves it: openssl does
    return world


def make(shop, case: dict) -> tuple[str, str]:
    if case.get("ca") == "other":
        authority = Authority.new(shop.directory / "other-ca")
    else:
        authority = Authority.of(shop)
    return authority.issue(san=case["san"], begins=case.get("from"), ends=case.get("to"), usage=case.get("usage", "serverAuth,clientAuth"),
                           ca_flag=case.get("ca_flag", False))


def handshake_as_client(shop, certificate: str, key: str) -> str:
    """What openssl says of a connection to the server pod's tunnel port; it waits for an answer after the handshake."""
    stranger, server = shop.pods["stranger"], shop.pods["server"]
    done = stranger.run(["timeout", str(scaled(3)), "openssl", "s_client", "-connect", f"{server.v4}:15008", "-tls1_3", "-alpn", "culvert/1", "-cert",
                         certificate, "-key", key, "-quiet", "-no_ign_eof"], check=False, input="", timeout=20)
    return done.stdout + done.stderr


def refused(shop) -> float:
    return shop.b.agent.metric("culvert_tls_handshakes_failed_total")


def test_a_good_client_certificate_from_the_same_hands_is_accepted(shop):
    certificate, key = make(shop, {"san": GOOD})
    handshake_as_client(shop, certificate, key)
    assert shop.b.agent.metric("culvert_tls_handshakes_server_total") >= 1
    assert refused(shop) == 0


@pytest.mark.parametrize("case", CASES)
def test_a_client_certificate_is_refused(shop, case):
    certificate, key = make(shop, CASES[case])
    handshake_as_client(shop, certificate, key)
    wait_for(lambda: refused(shop) >= 1, f"a certificate {case} to be refused")
    assert shop.b.agent.metric("culvert_tls_handshakes_server_total") == 0


def test_a_client_without_a_certificate_is_refused(shop):
    stranger, server = shop.pods["stranger"], shop.pods["server"]
    stranger.run(["timeout", str(scaled(3)), "openssl", "s_client", "-connect", f"{server.v4}:15008", "-tls1_3", "-alpn", "culvert/1", "-quiet"],
                 check=False, input="", timeout=20)
    wait_for(lambda: refused(shop) >= 1, "the handshake to be refused")


def test_tls_1_2_is_refused(shop):
    certificate, key = make(shop, {"san": GOOD})
    stranger, server = shop.pods["stranger"], shop.pods["server"]
    done = stranger.run(["timeout", str(scaled(3)), "openssl", "s_client", "-connect", f"{server.v4}:15008", "-tls1_2", "-cert", certificate, "-key",
                         key], check=False, input="", timeout=20)
    assert "protocol version" in done.stdout + done.stderr


def dial(shop, certificate: str, key: str) -> tuple[bytes | str, str]:
    """The client's application connects to the pod where openssl plays the agent: what it gets, and what openssl printed."""
    stranger, client = shop.pods["stranger"], shop.pods["client"]
    # -rev: lines come back reversed, and standard input plays no part.
    daemon = stranger.start(["openssl", "s_server", "-accept", "15008", "-rev", "-tls1_3", "-alpn", "culvert/1", "-cert", certificate, "-key",
                             key, "-CAfile", str(shop.directory / "ca/ca.crt"), "-Verify", "2", "-verify_return_error"], name="s_server")
    stranger.netns.wait_listening(15008)
    try:
        with contextlib.closing(client.netns.socket()) as connection:
            connection.settimeout(scaled(5))
            connection.connect((stranger.v4, 80))
            connection.sendall(b"the-application-speaks\n")
            answer: bytes | str = connection.recv(100)
    except ConnectionError as error:
        answer = type(error).__name__
    except socket.timeout:
        answer = "timeout"
    daemon.stop()
    return answer, daemon.output()


def test_a_good_server_certificate_from_the_same_hands_is_accepted(shop):
    """OpenSSL does not speak the direct tunnel, so it ends with the first control record; the handshake is what counts."""
    dial(shop, *make(shop, {"san": GOOD}))
    assert shop.a.agent.metric("culvert_tls_handshakes_client_total") == 1
    assert shop.a.agent.metric("culvert_tls_handshakes_failed_total") == 0


@pytest.mark.parametrize("case", CASES)
def test_a_server_certificate_is_refused_before_a_byte_is_sent(shop, case):
    answer, output = dial(shop, *make(shop, CASES[case]))
    assert "the-application-speaks" not in output
    assert answer == "ConnectionResetError", f"the application saw {answer!r}"
    assert shop.a.agent.metric("culvert_tls_handshakes_client_total") == 0
    [line] = shop.a.agent.access_log()
    assert "error=" in line


def test_a_server_that_is_another_workload_than_dialled_is_refused(shop):
    """Its certificate is good, and somebody else's."""
    answer, output = dial(shop, *make(shop, {"san": "URI:spiffe://cluster.local/ns/shop/sa/client"}))
    assert "the-application-speaks" not in output
    assert answer == "ConnectionResetError"
    [line] = shop.a.agent.access_log()
    assert "identity" in line


def test_certificates_rotate_without_touching_a_live_connection(world):
    world.extra_config = {"identity": {"embedded": {"lifetime": "1m"}}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(5))
        connection.connect((server.v4, 7002))
        [first] = [c for c in world.a.agent.ctl("certificates") if c["identity"] == client.identity]
        wait_for(lambda: [c for c in world.a.agent.ctl("certificates") if c["identity"] == client.identity][0]["serial"] != first["serial"],
                 "a new certificate at half of the lifetime", 45)
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
    [line] = client.flowtool("latency", server.v4, 7002, "--count", 3)
    assert line["ok"]
