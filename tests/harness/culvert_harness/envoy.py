# SPDX-License-Identifier: Apache-2.0
"""Envoy as the peer of an ambient mesh, in a pod without Culvert: HBONE client, HBONE server, and waypoint.

    envoy.start(pod, "server", *envoy.hbone_server(credentials))
    envoy.start(pod, "client", *envoy.hbone_client(credentials, local_port=9000, authority="10.2.0.10:80", next_hop="10.2.0.10", identity=...))

Configurations are JSON that Envoy reads at its start (API v3); the program comes from scripts/envoy.
"""

import functools
import json

from . import run
from .authority import Credentials
from .pod import Pod

TUNNEL_PORT = 15008
_TYPE = "type.googleapis.com/envoy."
_HTTP = _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"


@functools.cache
def program() -> str:
    """Installs it when it is not here; that can take a minute."""
    return run.run([str(run.ROOT / "scripts" / "envoy")], timeout=300).stdout.strip()


def start(pod: Pod, name: str, *parts: dict, concurrency: int = 1, log_level: str = "warning") -> run.Daemon:
    """`parts` are listeners ("listener") and clusters ("cluster") of the functions below. Returns once all ports listen."""
    listeners = [part["listener"] for part in parts if "listener" in part]
    config = {
        "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": {
            "@type": _TYPE + "extensions.bootstrap.internal_listener.v3.InternalListener"}}],
        "static_resources": {"listeners": listeners, "clusters": [part["cluster"] for part in parts if "cluster" in part]},
    }
    path = pod.node.world.directory / f"envoy-{pod.name}-{name}.json"
    path.write_text(json.dumps(config, indent=1))
    daemon = pod.start([program(), "-c", str(path), "--disable-hot-restart", "--concurrency", str(concurrency), "--log-level", log_level],
                       name=f"envoy-{name}")
    wanted = {listener["address"]["socket_address"]["port_value"] for listener in listeners if "address" in listener}
    daemon.wait_ready(lambda: wanted <= pod.netns.listeners(), f"envoy {name} in {pod.name}, on {wanted},", 30)
    return daemon


# Parts.
def hbone_client(credentials: Credentials, *, local_port: int, authority: str, next_hop: str, identity: str, fields: dict[str, str] | None = None,
                 streams: int | None = None) -> list[dict]:
    """What connects to 127.0.0.1:local_port is carried to `authority` by the peer at `next_hop`, which must be `identity`."""
    name = f"to-{local_port}"
    return [tcp_listener(name, authority, address=_address("127.0.0.1", local_port), fields=fields),
            hbone_cluster(name, credentials, next_hop, identity, streams=streams)]


def hbone_server(credentials: Credentials, *, port: int = TUNNEL_PORT) -> list[dict]:
    """CONNECT is terminated to TCP, to the address that :authority names. Envoy ends the whole stream when the application half-closes before its
    client did: RST_STREAM with NO_ERROR, or with INTERNAL_ERROR while bytes wait for the client's window, which are then lost."""
    return [{"listener": connect_listener("hbone", credentials, [{"authority": None, "cluster": "application"}], port)},
            {"cluster": {"name": "application", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s",
                         "original_dst_lb_config": {"use_http_header": True, "http_header_name": ":authority"}}}]


def waypoint(credentials: Credentials, routes: dict[str, tuple[str, str, str]], *, header: str = "x-forbidden", value: str = "yes",
             port: int = TUNNEL_PORT) -> list[dict]:
    """HBONE in; HTTP, where `header: value` is answered with 403; HBONE out. `routes`: what clients ask for -> (next hop, authority there, its
    identity). Responses carry `x-waypoint: envoy`."""
    parts: list[dict] = []
    entries = []
    for number, (authority, (next_hop, onward, identity)) in enumerate(routes.items()):
        entries.append({"authority": authority, "cluster": f"main-{number}"})
        parts += [_internal_cluster(f"main-{number}"), http_listener(f"main-{number}", f"out-{number}", header, value),
                  _internal_cluster(f"out-{number}"), tcp_listener(f"out-{number}", onward, cluster=f"hbone-{number}"),
                  hbone_cluster(f"hbone-{number}", credentials, next_hop, identity)]
    return [{"listener": connect_listener("hbone", credentials, entries, port)}, *parts]


def hbone_cluster(name: str, credentials: Credentials, host: str, identity: str, *, streams: int | None = None) -> dict:
    options = {"connection_keepalive": {"interval": "10s", "timeout": "20s"}}
    if streams:
        options["max_concurrent_streams"] = streams
    return {"cluster": {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, TUNNEL_PORT)}}]}]},
        "typed_extension_protocol_options": {_HTTP.removeprefix("type.googleapis.com/"): {
            "@type": _HTTP, "explicit_http_config": {"http2_protocol_options": options}}},
        "transport_socket": {"name": "tls", "typed_config": {
            "@type": _TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": _tls(credentials, identity)}}}}


def tcp_listener(name: str, authority: str, *, address: dict | None = None, cluster: str = "", fields: dict[str, str] | None = None) -> dict:
    """TCP in, one CONNECT out; an internal listener when it has no address."""
    tunneling = {"hostname": authority, "headers_to_add": [{"header": {"key": key, "value": value}} for key, value in (fields or {}).items()]}
    proxy = {"@type": _TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": cluster or name,
             "tunneling_config": tunneling}
    return {"listener": {"name": name, **({"address": address} if address else {"internal_listener": {}}),
                         "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}]}}


def http_listener(name: str, cluster: str, header: str, value: str) -> dict:
    """The rule of the waypoint."""
    refused = {"match": {"prefix": "/", "headers": [{"name": header, "string_match": {"exact": value}}]},
               "direct_response": {"status": 403, "body": {"inline_string": "refused by the waypoint\n"}}}
    routes = [refused, {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    manager = _manager(name, routes)
    manager["route_config"]["response_headers_to_add"] = [{"header": {"key": "x-waypoint", "value": "envoy"}}]
    return {"listener": {"name": name, "internal_listener": {},
                         "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}}


def gateway(credentials: Credentials, routes: dict[str, str], *, port: int = TUNNEL_PORT) -> list[dict]:
    """A network gateway. `routes`: the authority that clients ask for -> address of a workload, whose tunnel port gets the bytes as they are: what is
    inside is TLS that is not for the gateway."""
    entries = [{"authority": authority, "cluster": f"far-{number}"} for number, authority in enumerate(routes)]
    clusters = [{"cluster": {"name": f"far-{number}", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
        "cluster_name": f"far-{number}", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(address, TUNNEL_PORT)}}]}]}}}
        for number, address in enumerate(routes.values())]
    return [{"listener": connect_listener("hbone", credentials, entries, port)}, *clusters]


def connect_listener(name: str, credentials: Credentials, entries: list[dict], port: int) -> dict:
    """HBONE in. Each entry: an authority (None: any) and the cluster that gets the bytes."""
    routes = [{"match": {"connect_matcher": {},
                         **({"headers": [{"name": ":authority", "string_match": {"exact": entry["authority"]}}]} if entry["authority"] else {})},
               "route": {"cluster": entry["cluster"], "timeout": "0s", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}}
              for entry in entries]
    manager = _manager(name, routes) | {"http2_protocol_options": {"allow_connect": True}, "codec_type": "HTTP2", "stream_idle_timeout": "0s",
                                        "upgrade_configs": [{"upgrade_type": "CONNECT"}]}
    tls = {"@type": _TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext", "require_client_certificate": True,
           "common_tls_context": _tls(credentials)}
    return {"name": name, "address": _address("::", port, ipv4_compat=True),
            "filter_chains": [{"transport_socket": {"name": "tls", "typed_config": tls},
                               "filters": [{"name": "http", "typed_config": manager}]}]}


def _manager(name: str, routes: list[dict]) -> dict:
    return {"@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": name,
            "route_config": {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"}}]}


def _internal_cluster(name: str) -> dict:
    endpoint = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": name}}}}
    return {"cluster": {"name": name, "type": "STATIC", "connect_timeout": "5s",
                        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}}


def _address(host: str, port: int, **options) -> dict:
    return {"socket_address": {"address": host, "port_value": port, **options}}


def _tls(credentials: Credentials, identity: str = "") -> dict:
    validation: dict = {"trusted_ca": {"filename": credentials.ca}}
    if identity:
        validation["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": {"exact": identity}}]
    return {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}, "alpn_protocols": ["h2"],
            "tls_certificates": [{"certificate_chain": {"filename": credentials.certificate}, "private_key": {"filename": credentials.key}}],
            "validation_context": validation}
