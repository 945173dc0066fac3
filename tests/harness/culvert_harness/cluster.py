# SPDX-License-Identifier: Apache-2.0
"""A real control plane: etcd, kube-apiserver and istiod in a network namespace of their own, with nodes and pods as objects that tests write.

Where the programs come from: scripts/cluster-tools. Nothing is a mock but the kubelet: a pod's status says the address of the test's namespace.
"""

import base64
import contextlib
import functools
import hashlib
import http.client
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import typing

import yaml

from . import run
from .netns import Netns

if typing.TYPE_CHECKING:
    from .world import Node, Workload, World

ISTIO = "istio-system"
API_PORT = 6443
API = f"https://127.0.0.1:{API_PORT}"
API_SERVICE = "10.96.0.1"  # the service `kubernetes`: where programs on nodes find the API server, whose certificate names it
ADMIN_TOKEN = "culvert-test-admin"
ISTIOD_NAME = "istiod.istio-system.svc"
# Of the manifest, what istiod needs of the API; programs, webhooks and scaling are the tests' own affair.
KINDS = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "ServiceAccount")


def tools() -> pathlib.Path | None:
    """Where the programs are; None when they have not been built."""
    done = run.run([str(run.ROOT / "scripts/cluster-tools"), "--check"], check=False)
    return pathlib.Path(done.stdout.strip()) if done.returncode == 0 else None


@functools.cache
def manifest(home: pathlib.Path, name: str = "manifest.yaml") -> list[dict]:
    """The objects of a file that scripts/cluster-tools made."""
    return [document for document in yaml.load_all((home / name).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


class Cluster:
    def __init__(self, name: str = "cluster"):
        self.home = tools()
        self.prefix = f"cc{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        self.netns = Netns(self.prefix)
        self.directory = pathlib.Path(tempfile.gettempdir()) / f"culvert-{self.prefix}"
        self.daemons: dict[str, run.Daemon] = {}
        self.attached = 0
        self.istiod_environment: dict[str, str] = {}  # over what `start_istiod` says
        self.lock = run.MachineLock(self.prefix)

    # Life.
    def __enter__(self) -> "Cluster":
        self.lock.acquire()
        self.remove()
        self.directory.mkdir(parents=True, mode=0o700)
        try:
            self.netns.create()
            self.netns.run(["ip", "addr", "add", f"{API_SERVICE}/32", "dev", "lo"])
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.remove()
        self.lock.release()

    def remove(self) -> None:
        for daemon in self.daemons.values():
            daemon.kill()
        self.daemons = {}
        if self.netns.exists():
            self.netns.kill_all()
            self.netns.delete()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        self.start_etcd()
        self.make_keys()
        self.start_apiserver()
        self.apply_config()
        self.start_istiod()

    def daemon(self, name: str, command: list[str], env: dict[str, str] | None = None) -> None:
        self.daemons[name] = run.Daemon(self.netns.command(command), self.directory / f"{name}.log", env=env)

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_http(self, what: str, url: str, daemon: str, timeout: float = 60) -> None:
        def answers() -> bool:
            assert self.daemons[daemon].is_running(), f"{daemon} ended:\n{self.log(daemon)[-3000:]}"
            return self.netns.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", url], check=False).stdout == "200"
        run.wait_for(answers, f"{what}\n{self.log(daemon)[-2000:]}", timeout, interval=0.1)

    def start_etcd(self) -> None:
        self.daemon("etcd", ["etcd", "--data-dir", str(self.directory / "etcd"), "--unsafe-no-fsync", "--listen-client-urls", "http://127.0.0.1:2379",
                             "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380",
                             "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380"])

    def make_keys(self) -> None:
        run.run(["openssl", "genrsa", "-out", str(self.directory / "accounts.key"), "2048"])
        (self.directory / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
        (self.directory / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}]}))

    def start_apiserver(self) -> None:
        key = str(self.directory / "accounts.key")
        self.daemon("apiserver", [
            str(self.home / "kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", f"--secure-port={API_PORT}",
            f"--cert-dir={self.directory / 'certs'}", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
            "--advertise-address=10.255.255.254", "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}", f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--disable-admission-plugins=ServiceAccount", "--allow-privileged=true"], env={"GOMEMLIMIT": "700MiB"})
        self.wait_http("kube-apiserver to be ready", f"{API}/readyz", "apiserver")

    def apply_config(self) -> None:
        documents = [document for name in ("manifest.yaml", "gateway-api.yaml") for document in manifest(self.home, name)
                     if document["kind"] in KINDS]
        self.apply(namespace(ISTIO))
        self.apply(*documents, server_side=True)

    def start_istiod(self) -> None:
        environment = {
            "POD_NAME": "istiod", "POD_NAMESPACE": ISTIO, "SERVICE_ACCOUNT": "istiod", "REVISION": "default", "CLUSTER_ID": "Kubernetes",
            "PILOT_CERT_PROVIDER": "istiod", "PILOT_ENABLE_AMBIENT": "true", "CA_TRUSTED_NODE_ACCOUNTS": f"{ISTIO}/ztunnel",
            "PILOT_ENABLE_ANALYSIS": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false", "VALIDATION_WEBHOOK_CONFIG_NAME": "", "INJECTION_WEBHOOK_CONFIG_NAME": "",
            "ISTIOD_CUSTOM_HOST": "localhost", "KUBERNETES_SERVICE_HOST": "", "TOKEN_AUDIENCES": "istio-ca"} | self.istiod_environment
        self.daemon("istiod", ["env", "-u", "KUBERNETES_SERVICE_HOST", str(self.home / "pilot-discovery"), "discovery", "--kubeconfig",
                               str(self.directory / "kubeconfig"), "--namespace", ISTIO, "--domain", "cluster.local", "--clusterID", "Kubernetes",
                               "--httpAddr", "127.0.0.1:8080", "--httpsAddr", "127.0.0.1:15017", "--grpcAddr", "0.0.0.0:15010",
                               "--secureGRPCAddr", "0.0.0.0:15012", "--monitoringAddr", "127.0.0.1:15014", "--ctrlz_port", "0"], env=environment)
        self.wait_http("istiod to be ready", "http://127.0.0.1:8080/ready", "istiod")

    def stop_istiod(self) -> None:
        self.daemons.pop("istiod").kill()

    def wipe(self) -> None:
        """The cluster's memory is lost and comes back empty; the API server starts anew, istiod has to see for itself."""
        for name in ("etcd", "apiserver"):
            self.daemons.pop(name).kill()
        shutil.rmtree(self.directory / "etcd")
        self.start_etcd()
        self.start_apiserver()

    # Objects.
    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess:
        return self.netns.run([str(self.home / "kubectl"), "--kubeconfig", str(self.directory / "kubeconfig"),
                               "--cache-dir", str(self.directory / "kubectl"), *arguments], input=input, check=check,
                              timeout=timeout)

    def request(self, method: str, path: str, body: dict | None = None, *, kind: str = "application/json") -> dict:
        """One call of the API as the administrator, for what tests do so often that kubectl's own time would count."""
        trust = ssl.create_default_context(cafile=str(self.directory / "certs/apiserver.crt"))
        connection = http.client.HTTPSConnection(API_SERVICE, API_PORT)
        with contextlib.closing(connection), contextlib.closing(self.netns.socket()) as plain:
            plain.settimeout(run.scaled(30))
            plain.connect((API_SERVICE, API_PORT))
            connection.sock = trust.wrap_socket(plain, server_hostname=API_SERVICE)
            connection.request(method, path, json.dumps(body) if body else None, {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status >= 300:
            raise run.NotYet(f"{method} {path} gave {answer.status}: {text}")
        return json.loads(text)

    def apply(self, *objects: dict, server_side: bool = False) -> None:
        bundle = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", *(["--server-side", "--force-conflicts"] if server_side else []), "--validate=false", "-f", "-", input=bundle)

    def delete(self, kind: str, namespace_name: str, *names: str) -> None:
        self.kubectl("delete", kind, "-n", namespace_name, "--ignore-not-found", "--grace-period=0", "--force", *names)

    def set_status(self, kind: str, namespace_name: str | None, name: str, status: dict) -> None:
        where = f"/namespaces/{namespace_name}" if namespace_name else ""
        self.request("PATCH", f"/api/v1{where}/{kind}s/{name}/status", {"status": status}, kind="application/merge-patch+json")

    def root_certificate(self) -> str:
        return run.wait_for(lambda: self.authority_file("ca-cert.pem"), "istiod's root certificate")

    def authority_file(self, name: str) -> str:
        """Of istiod's own CA: ca-cert.pem, ca-key.pem."""
        found = self.request("GET", f"/api/v1/namespaces/{ISTIO}/secrets/istio-ca-secret")
        return base64.b64decode(found["data"][name]).decode()

    def token(self, account: str, namespace_name: str, pod: str, *, audience: str = "istio-ca") -> str:
        """A service account's token, bound to a pod as a kubelet asks for it. An empty audience: for the API server."""
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": self.pod_uid(namespace_name, pod)}
        wanted = {"audiences": [audience] if audience else [], "expirationSeconds": 3600, "boundObjectRef": bound}
        made = self.request("POST", f"/api/v1/namespaces/{namespace_name}/serviceaccounts/{account}/token",
                            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": wanted})
        return made["status"]["token"]

    def pod(self, namespace_name: str, name: str) -> dict:
        return self.request("GET", f"/api/v1/namespaces/{namespace_name}/pods/{name}")

    def pod_uid(self, namespace_name: str, name: str) -> str:
        return self.pod(namespace_name, name)["metadata"]["uid"]

    def add_pod(self, name: str, namespace_name: str, account: str, node: str, addresses: list[str], host: str, *, labels: dict | None = None,
                meshed: bool = True, beside: list[dict] | None = None) -> None:
        """With its namespace, its account and the objects that are to be there `beside`."""
        self.apply(namespace(namespace_name), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace_name}},
                   *(beside or []), pod_object(name, namespace_name, account, node, labels or {"app": name}, meshed))
        self.set_status("pod", namespace_name, name, pod_status(addresses, host))

    # Together with a world of nodes.
    def attach(self, world: "World") -> None:
        """A cable from the control plane to each node, the nodes as objects, and their agents as pods of the ztunnel account."""
        for node in world.nodes.values():
            self.attached += 1
            here, there, cable = f"10.255.{self.attached}.1", f"10.255.{self.attached}.2", f"cp{self.attached}"
            self.netns.run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "control", "netns", node.netns.name])
            self.netns.run(["ip", "addr", "add", f"{here}/30", "dev", cable])
            self.netns.run(["ip", "link", "set", cable, "up"])
            node.netns.run(["ip", "addr", "add", f"{there}/30", "dev", "control"])
            node.netns.run(["ip", "link", "set", "control", "up"])
            node.netns.run(["ip", "route", "add", f"{API_SERVICE}/32", "via", here])
            agent, files = f"ztunnel-{node.letter}", self.introduce(node)
            (files / "root-cert.pem").write_text(self.root_certificate())
            node.agent.environment = {
                "XDS_ADDRESS": f"https://{here}:15012", "CA_ADDRESS": f"https://{here}:15012", "XDS_ROOT_CA": str(files / "root-cert.pem"),
                "CA_ROOT_CA": str(files / "root-cert.pem"), "ALT_XDS_HOSTNAME": ISTIOD_NAME, "ALT_CA_HOSTNAME": ISTIOD_NAME,
                "AUTH_TOKEN": str(files / "token"), "NODE_NAME": node.name, "CLUSTER_ID": "Kubernetes", "POD_NAME": agent, "POD_NAMESPACE": ISTIO,
                "SERVICE_ACCOUNT": "ztunnel", "INSTANCE_IP": node.v4, "ISTIO_META_CLUSTER_ID": "Kubernetes"}
        world.in_cluster = True

    def introduce(self, node: "Node") -> pathlib.Path:
        """The node and its agent's pod as objects, and the pod's token in a file of the directory that this gives."""
        agent, files = f"ztunnel-{node.letter}", node.directory / "secrets"
        files.mkdir(exist_ok=True)
        self.add_pod(agent, ISTIO, "ztunnel", node.name, [node.v4], node.v4, labels={"app": "ztunnel"}, meshed=False,
                     beside=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}}])
        self.set_status("node", None, node.name, {"addresses": [{"type": "InternalIP", "address": node.v4}],
                                                  "conditions": [{"type": "Ready", "status": "True"}]})
        (files / "token").write_text(self.token("ztunnel", ISTIO, agent) + "\n")
        return files

    def restore(self, world: "World") -> None:
        """Writes the objects of an attached world again."""
        for node in world.nodes.values():
            self.introduce(node)
        for workload in world.workloads.values():
            self.add_workload(world, workload)

    def detach(self, world: "World") -> None:
        """Its objects go; the cables went with the nodes' namespaces."""
        for name in {workload.namespace for workload in world.workloads.values()}:
            self.kubectl("delete", "pods,services,endpointslices,authorizationpolicies,peerauthentications", "-n", name, "--all", "--grace-period=0", "--force",
                         check=False)
        for everything in (f"namespaces/{ISTIO}/pods", "nodes"):
            self.request("DELETE", f"/api/v1/{everything}", {"gracePeriodSeconds": 0})

    def add_workload(self, world: "World", workload: "Workload", *, meshed: bool = True) -> None:
        node = world.nodes[workload.node]
        self.add_pod(workload.name, workload.namespace, workload.service_account, node.name, [workload.v4, workload.v6], node.v4, meshed=meshed)

    def add_service(self, name: str, namespace_name: str, address: str, port: int, target_port: int, selector: str,
                    endpoints: list[tuple[str, str, str]], *, labels: dict | None = None, port_name: str = "tcp") -> None:
        """`endpoints`: (pod, address, node) each. The slice is what the controller manager would write. istiod takes the protocol from `port_name`."""
        self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace_name, "labels": labels or {}},
             "spec": {"clusterIP": address, "selector": {"app": selector}, "ports": [{"name": port_name, "port": port, "targetPort": target_port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": f"{name}-1", "namespace": namespace_name, "labels": {"kubernetes.io/service-name": name}},
             "ports": [{"name": port_name, "port": target_port, "protocol": "TCP"}],
             "endpoints": [{"addresses": [where], "conditions": {"ready": True}, "nodeName": node,
                            "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace_name}} for pod, where, node in endpoints]})


def namespace(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"istio.io/dataplane-mode": "ambient"} if name != ISTIO else {}}}


def pod_object(name: str, namespace_name: str, account: str, node: str, labels: dict, meshed: bool) -> dict:
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace_name, "labels": labels,
                         "annotations": {"ambient.istio.io/redirection": "enabled"} if meshed else {}},
            "spec": {"serviceAccountName": account, "nodeName": node, "containers": [{"name": "main", "image": "none"}]}}


def pod_status(addresses: list[str], host: str) -> dict:
    return {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses], "hostIP": host,
            "hostIPs": [{"ip": host}], "conditions": [{"type": "Ready", "status": "True"}]}


def policy(kind: str, name: str, namespace_name: str, spec: dict) -> dict:
    return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace_name}, "spec": spec}
