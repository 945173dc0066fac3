# SPDX-License-Identifier: Apache-2.0
"""A waypoint whose proxy is an Envoy that a real istiod drives. The Gateway is an object here; istiod makes Service, account and Deployment for it
and says its address; what a controller manager, a kubelet and istio's agent would add is done here: the endpoint, a pod that no agent serves, and in
it Envoy, with listeners, clusters and endpoints by aggregated discovery over TLS with the pod's token, and a certificate of istiod's CA
(istio_agent.py).

It is Envoy as it is, not istio's build of it, so filters that only istio's has (telemetry, peer metadata) are taken out of what istiod says by an
EnvoyFilter, and the proxy calls itself 1.29.1, which istiod answers without a factory of filter state that later builds have.
"""

import contextlib
import json
import typing
import urllib.parse

from . import envoy, istio_agent, run
from .cluster import namespace as namespace_object

if typing.TYPE_CHECKING:
    from .cluster import Cluster
    from .world import World

VERSION = "1.29.1"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
PORTS = [{"name": "status-port", "port": 15021, "protocol": "TCP", "appProtocol": "tcp"},
         {"name": "mesh", "port": envoy.TUNNEL_PORT, "protocol": "TCP", "appProtocol": "hbone"}]  # of the Service that istiod makes
UNKNOWN_TO_ENVOY = {"HTTP_FILTER": ("waypoint_downstream_peer_metadata", "waypoint_upstream_peer_metadata", "istio.metadata_exchange", "istio.stats"),
                    "NETWORK_FILTER": ("istio.metadata_exchange", "istio.stats", "upstream_hbone_peer_metadata")}
_TYPE = "type.googleapis.com/envoy."


class Waypoint:
    """`name`: of a workload that `world` has declared. `traffic`: what may use it, "service", "workload" or "all". While the block runs the
    objects are there; the proxy runs from `start` to `stop`."""

    def __init__(self, cluster: "Cluster", world: "World", name: str, *, traffic: str = "service"):
        self.cluster, self.world, self.name, self.traffic = cluster, world, name, traffic
        self.workload = world.workloads[name]
        self.node = world.nodes[self.workload.node]
        self.daemon: run.Daemon | None = None
        self._stack = contextlib.ExitStack()

    @property
    def identity(self) -> str:
        return self.workload.identity

    @property
    def principal(self) -> str:
        """The identity as policies write it."""
        return self.identity.removeprefix("spiffe://")

    @property
    def istiod(self) -> tuple[str, int]:
        """As the node sees it."""
        where = urllib.parse.urlsplit(self.node.agent.environment["XDS_ADDRESS"])
        return where.hostname, where.port

    @property
    def labels(self) -> dict[str, str]:
        return {GATEWAY_LABEL: self.name, "gateway.istio.io/managed": "istio.io-mesh-controller", "istio.io/dataplane-mode": "none",
                "service.istio.io/canonical-name": self.name}

    def __enter__(self) -> "Waypoint":
        self.cluster.add_pod(self.name, self.workload.namespace, self.workload.service_account, self.node.name, [self.workload.v4, self.workload.v6],
                             self.node.v4, labels=self.labels, meshed=False)
        self.cluster.apply(*self._objects())
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()
        self._stack.close()
        self.cluster.kubectl("delete", "gateways,envoyfilters", "-n", self.workload.namespace, self.name, "--ignore-not-found")

    def start(self) -> None:
        """Returns when the proxy takes connections."""
        pod = self.world.pods.get(self.name) or self._wire()
        path = self._write_bootstrap()
        self.daemon = pod.start([envoy.program(), "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "info"],
                                name="envoy")
        self.daemon.wait_ready(lambda: envoy.TUNNEL_PORT in pod.netns.listeners(), "the waypoint's envoy", 30)

    def stop(self) -> None:
        """Killed, as a node kills what does not end."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon = None

    def set_ready(self, is_ready: bool) -> None:
        """What the cluster says of its pod and, after it, of its endpoint."""
        self.cluster.set_status("pod", self.workload.namespace, self.name, {"conditions": [{"type": "Ready", "status": str(is_ready)}]})
        self.cluster.apply(self._slice(is_ready))

    def _wire(self):
        """The pod, with a way to istiod and back, and its secrets."""
        pod = self.world.add(self.name, chain="plain")
        host, port = self.istiod
        here = host.rsplit(".", 1)[0]
        self.cluster.netns.run(["ip", "route", "replace", self.node.pods_v4, "via", f"{here}.2"])
        roots = (self.node.directory / "secrets" / "root-cert.pem").read_text()
        self.token = self.cluster.token(self.workload.service_account, self.workload.namespace, self.name)
        secrets = istio_agent.create_certificate(pod.netns, (host, port), str(self.node.directory / "ca.sock"), token=self.token, roots=roots)
        self._stack.enter_context(istio_agent.SecretServer(self.node.directory / "sds.sock", *secrets))
        return pod

    # Objects.
    def _objects(self) -> list[dict]:
        where = {"name": self.name, "namespace": self.workload.namespace}
        return [
            namespace_object(self.workload.namespace),
            self._slice(True),
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
             "metadata": {**where, "labels": {"istio.io/waypoint-for": self.traffic}},
             "spec": {"gatewayClassName": "istio-waypoint", "listeners": [{"name": "mesh", "port": envoy.TUNNEL_PORT, "protocol": "HBONE",
                                                                             "allowedRoutes": {"namespaces": {"from": "All"}}}]}},
            {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": where,
             "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": self.name}],
                      "configPatches": [_removal(kind, name) for kind, names in UNKNOWN_TO_ENVOY.items() for name in names]}}]

    def _slice(self, is_ready: bool) -> dict:
        """What the controller manager would write."""
        where = {"namespace": self.workload.namespace}
        endpoint = {"addresses": [self.workload.v4], "conditions": {"ready": is_ready}, "nodeName": self.node.name,
                    "targetRef": {"kind": "Pod", "name": self.name, **where}}
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": f"{self.name}-1", **where, "labels": {"kubernetes.io/service-name": self.name}},
                "ports": PORTS, "endpoints": [endpoint]}

    # The proxy.
    def _write_bootstrap(self):
        istiod = {"envoy_grpc": {"cluster_name": "xds-grpc"},
                  "initial_metadata": [{"key": "authorization", "value": f"Bearer {self.token}"}, {"key": "clusterid", "value": "Kubernetes"}]}
        stream = {"resource_api_version": "V3", "ads": {}}
        config = {
            "node": {"id": f"waypoint~{self.workload.v4}~{self.name}.{self.workload.namespace}~{self.workload.namespace}.svc.cluster.local",
                     "cluster": f"{self.name}.{self.workload.namespace}", "metadata": self._metadata()},
            "bootstrap_extensions": [{"name": "envoy.bootstrap.internal_listener", "typed_config": {
                "@type": _TYPE + "extensions.bootstrap.internal_listener.v3.InternalListener"}}],
            "dynamic_resources": {"lds_config": stream, "cds_config": stream,
                                  "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [istiod]}},
            "static_resources": {"clusters": [self._istiod_cluster(), self._secrets_cluster()]}}
        path = self.world.directory / f"envoy-{self.name}.json"
        path.write_text(json.dumps(config, indent=1))
        return path

    def _metadata(self) -> dict:
        return {"NAME": self.name, "NAMESPACE": self.workload.namespace, "SERVICE_ACCOUNT": self.workload.service_account, "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": VERSION, "INSTANCE_IPS": self.workload.v4, "LABELS": self.labels, "MESH_ID": "cluster.local",
                "NODE_NAME": self.node.name, "WORKLOAD_NAME": self.name}

    def _istiod_cluster(self) -> dict:
        host, port = self.istiod
        roots = str(self.node.directory / "secrets" / "root-cert.pem")
        name = {"san_type": "DNS", "matcher": {"exact": istio_agent.ISTIOD_NAME}}
        tls = {"@type": _TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": istio_agent.ISTIOD_NAME,
               "common_tls_context": {"alpn_protocols": ["h2"], "validation_context": {"trusted_ca": {"filename": roots},
                                                                                       "match_typed_subject_alt_names": [name]}}}
        return _grpc_cluster("xds-grpc", {"socket_address": {"address": host, "port_value": port}},
                             transport_socket={"name": "tls", "typed_config": tls})

    def _secrets_cluster(self) -> dict:
        return _grpc_cluster("sds-grpc", {"pipe": {"path": str(self.node.directory / "sds.sock")}})


def _grpc_cluster(name: str, address: dict, **more) -> dict:
    options = {"@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}, **more}


def _removal(kind: str, name: str) -> dict:
    found = {"name": name} if kind == "NETWORK_FILTER" else {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": name}}
    return {"applyTo": kind, "match": {"context": "ANY", "listener": {"filterChain": {"filter": found}}}, "patch": {"operation": "REMOVE"}}
