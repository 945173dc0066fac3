# SPDX-License-Identifier: Apache-2.0
"""A control plane that does what a real istiod will not do on demand: delta discovery and certificates over gRPC with TLS and a token, scripted.

Left alone it is a right one: a new stream gets what it lacks and learns what has gone, changes reach every stream, answers are recorded. A
test may besides send any message or bytes (`send`), answer no request (`is_silent`), end streams (`end_streams`), stop, hold and cut the
connections of one node or all (`wires`), die and come back (`stop`, `start`), change its certificate (`rotate`), and have the CA answer
anything (`ca`, scripted_ca.py).
"""

import collections
import contextlib
import dataclasses
import ipaddress
import os
import queue
import threading
import time
import typing
from concurrent import futures

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # programs are started beside a running server
import grpc  # noqa: E402
from cryptography import x509  # noqa: E402

from . import proto, scripted_ca  # noqa: E402
from .wire import Wire  # noqa: E402

if typing.TYPE_CHECKING:
    from .world import Workload, World

ADDRESS, PORT = "127.0.0.1", 15012
TOKEN = "a-token-that-this-control-plane-takes"
STREAM = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CA = "istio.v1.auth.IstioCertificateService"


@dataclasses.dataclass
class Request:
    """What an agent said: its first one of a type, an ACK (a nonce), a NACK (a nonce and an error), or names that it wants."""

    node: str
    type_url: str
    nonce: str
    error: str
    initial: dict[str, str]
    subscribe: list[str]
    unsubscribe: list[str]
    is_first: bool
    at: float = dataclasses.field(default_factory=time.monotonic)


class Stream:
    def __init__(self, token: str | None):
        self.token, self.node = token, ""
        self.began = time.monotonic()
        self.outbox: queue.SimpleQueue = queue.SimpleQueue()  # messages, bytes, Refused, or None for the end
        self.types: set[str] = set()      # asked for whole
        self.on_demand: set[str] = set()  # names of addresses, where they are asked for one by one: what was asked for and what was sent
        self.is_open = True


class ControlPlane:
    """For the agents of `world`, which it gives ztunnel's environment. With `has_ca` certificates come from it too. `names` are what its own
    certificate says."""

    def __init__(self, world: "World", *, has_ca: bool = False, names: typing.Iterable[str] = (ADDRESS, "istiod.istio-system.svc")):
        self.world, self.has_ca, self.names = world, has_ca, tuple(names)
        self.lock = threading.RLock()
        self.known: dict[str, dict[str, tuple[str, typing.Any]]] = {proto.ADDRESS: {}, proto.AUTHORIZATION: {}}  # name -> version, message
        self.streams: list[Stream] = []
        self.requests: list[Request] = []
        self.attempts: list[tuple[float, str | None]] = []  # when a stream was asked for, with which token
        self.tokens: set[str] = {TOKEN}
        self.is_silent = False  # first requests get no answer
        self.answers_names: bool | float = True  # what is asked for by name: False, not answered; a number, after so many seconds
        self.is_deaf = False  # of streams that open now nothing is read; they are in `deaf`
        self.deaf: list[Stream] = []
        self.reads = threading.Event()  # cleared: of no stream anything more is read
        self.reads.set()
        self.at_open: typing.Callable[[Stream], None] | None = None  # before anything is read
        self.version = self.nonce = 0
        self.ca = scripted_ca.ScriptedCa()
        self.trust = scripted_ca.Issuer("istiod")  # of this server's own certificate
        self.path = str(world.directory / "control-plane.sock")
        self.server: grpc.Server | None = None
        self.wires: dict[str, Wire] = {}

    # Life.
    def __enter__(self) -> "ControlPlane":
        self.start()
        for node in self.world.nodes.values():
            self.wires[node.letter] = Wire(node.netns, self.path, PORT)
            files = node.directory / "secrets"
            files.mkdir(parents=True, exist_ok=True)
            (files / "root-cert.pem").write_text(self.trust.pem)
            (files / "token").write_text(TOKEN + "\n")
            address = f"https://{ADDRESS}:{PORT}"
            node.agent.environment = {
                "XDS_ADDRESS": address, "CA_ADDRESS": address if self.has_ca else "", "XDS_ROOT_CA": str(files / "root-cert.pem"),
                "CA_ROOT_CA": str(files / "root-cert.pem"), "AUTH_TOKEN": str(files / "token"), "NODE_NAME": node.name, "CLUSTER_ID": "Kubernetes",
                "POD_NAME": f"ztunnel-{node.letter}", "POD_NAMESPACE": "istio-system", "SERVICE_ACCOUNT": "ztunnel", "INSTANCE_IP": node.v4}
        self.world.in_cluster = True
        return self

    def __exit__(self, *_exc) -> None:
        self.ca.released.set()
        for wire in self.wires.values():
            wire.close()
        self.stop()

    def start(self) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.keepalive_permit_without_calls", 1),
                   ("grpc.http2.min_ping_interval_without_data_ms", 10)]
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=options)
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        m = proto.messages()
        server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler(STREAM, {"DeltaAggregatedResources": stream(
                self._stream, m.DeltaDiscoveryRequest.FromString, lambda said: said if isinstance(said, bytes) else said.SerializeToString())}),
            grpc.method_handlers_generic_handler(CA, {"CreateCertificate": unary(
                self._certificate, m.IstioCertificateRequest.FromString, m.IstioCertificateResponse.SerializeToString)})))
        names = [x509.IPAddress(ipaddress.ip_address(name)) if name == ADDRESS else x509.DNSName(name) for name in self.names]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        assert server.add_secure_port(f"unix:{self.path}", grpc.ssl_server_credentials([self.trust.server_credentials(names)])) != 0
        server.start()
        self.server = server

    def stop(self) -> None:
        """As kill -9 does it: connections are reset, and nobody listens. The state stays, for `start`."""
        if self.server is None:
            return
        for wire in self.wires.values():
            wire.refuse()
            wire.cut()
        for stream in self.streams:
            stream.outbox.put(None)
        self.server.stop(0).wait(5)
        self.server = None

    def restart(self) -> None:
        self.start()
        for wire in self.wires.values():
            wire.accept()

    def rotate(self, *, tell: bool = True) -> None:
        """A certificate of a new CA from the next `start` on; with `tell` the agents' files have its root."""
        self.trust = scripted_ca.Issuer("istiod, later")
        if tell:
            self.tell_roots()

    def tell_roots(self) -> None:
        for letter in self.wires:
            self.write_secret(letter, "root-cert.pem", self.trust.pem)

    def write_secret(self, letter: str, name: str, text: str) -> None:
        """As a kubelet: whole, then renamed."""
        target = self.world.nodes[letter].directory / "secrets" / name
        fresh = target.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(target)

    # The truth, and who hears of it.
    def set(self, *said, removed: typing.Iterable[str] = ()) -> None:
        """Addresses and authorizations, new or changed, and the names of those that have gone; one response a type to each stream."""
        changed: dict[str, list] = collections.defaultdict(list)
        gone: dict[str, list] = collections.defaultdict(list)
        with self.lock:
            for one in said:
                url, name = proto.name_of(one)
                self.version += 1
                self.known[url][name] = (str(self.version), one)
                changed[url].append(name)
            for name in removed:
                url = next(url for url, known in self.known.items() if name in known)
                del self.known[url][name]
                gone[url].append(name)
            for url in changed.keys() | gone.keys():
                for stream in self._live():
                    if url in stream.types:
                        self._post(stream, self.response(url, changed[url], gone[url]))
                    elif url == proto.ADDRESS and "*" in stream.on_demand:
                        self._tell_subscribed(stream, changed[url], gone[url])

    def _tell_subscribed(self, stream: Stream, changed: list[str], gone: list[str]) -> None:
        """As istiod: to whom a name was sent, and of new workloads those of its node and of services that it has."""
        known = self.known[proto.ADDRESS]
        heard = [name for name in changed if name in stream.on_demand or self._is_near(stream, known[name][1])]
        stream.on_demand |= set(heard)
        if heard or stream.on_demand & set(gone):
            self._post(stream, self.response(proto.ADDRESS, heard, stream.on_demand & set(gone)))

    @staticmethod
    def _is_near(stream: Stream, message) -> bool:
        workload = message.workload
        return message.WhichOneof("type") == "workload" and (workload.node == stream.node or bool(stream.on_demand & set(workload.services)))

    def add(self, *workloads: "Workload", **fields) -> None:
        """Workloads that the world has declared."""
        self.set(*(proto.workload(w.name, w.namespace, f"node-{w.node}", [w.v4, w.v6], service_account=w.service_account, **fields) for w in workloads))

    def response(self, url: str, names: typing.Iterable[str] = (), removed: typing.Iterable[str] = ()):
        """A response with what is known of these."""
        said = proto.messages().DeltaDiscoveryResponse(type_url=url, removed_resources=removed)
        for name in names:
            version, message = self.known[url][name]
            self.resource(said, name, message.SerializeToString(), version)
            if url == proto.ADDRESS:
                said.resources[-1].aliases.extend(proto.aliases(message))
        return said

    @staticmethod
    def resource(said, name: str, value: bytes, version: str = "1", url: str | None = None):
        """Any bytes as a resource of a response; of the response's type unless another is said."""
        one = said.resources.add(name=name, version=version)
        one.resource.type_url, one.resource.value = url or said.type_url, value
        return said

    def send(self, said, *, node: str | None = None) -> str:
        """A response, which gets a nonce unless it has one, or bytes, as they are. To every open stream, or the one of a node. The nonce."""
        with self.lock:
            for stream in self._live(node):
                self._post(stream, said)
        return "" if isinstance(said, bytes) else said.nonce

    def end_streams(self, code: grpc.StatusCode | None = None, text: str = "") -> None:
        """Every open stream ends: in order without a code."""
        for stream in self._live():
            stream.outbox.put(scripted_ca.Refused(code, text) if code else None)

    def _post(self, stream: Stream, said) -> None:
        if not isinstance(said, bytes) and not said.nonce:
            self.nonce += 1
            said.nonce = f"n{self.nonce}"
        stream.outbox.put(said)

    def _live(self, node: str | None = None) -> list[Stream]:
        return [stream for stream in self.streams if stream.is_open and node in (None, stream.node)]

    def is_connected(self, letter: str) -> bool:
        """A stream of that node is open, and has asked for both types."""
        return any(len(stream.types) == 2 or stream.on_demand for stream in self._live(f"node-{letter}"))

    # What was said.
    def of(self, nonce: str, letter: str = "a") -> Request | None:
        """That node's answer to a response."""
        return next((r for r in list(self.requests) if r.nonce == nonce and r.node == f"node-{letter}"), None)

    def firsts(self, url: str, letter: str = "a") -> list[Request]:
        return [r for r in list(self.requests) if r.is_first and r.type_url == url and r.node == f"node-{letter}"]

    # gRPC's side.
    def _stream(self, incoming, context):
        metadata = dict(context.invocation_metadata())
        stream = Stream((metadata.get("authorization") or "").removeprefix("Bearer ") or None)
        self.attempts.append((stream.began, stream.token))
        if stream.token not in self.tokens:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not valid")
        with self.lock:
            self.streams.append(stream)
        context.add_callback(lambda: stream.outbox.put(None))
        if self.at_open is not None:
            self.at_open(stream)
        if self.is_deaf:
            self.deaf.append(stream)
        else:
            threading.Thread(target=self._listen, args=(stream, incoming), daemon=True).start()
        try:
            while (said := stream.outbox.get()) is not None:
                if isinstance(said, scripted_ca.Refused):
                    context.abort(said.code, str(said))
                yield said
        finally:
            stream.is_open = False

    def _listen(self, stream: Stream, incoming) -> None:
        with contextlib.suppress(grpc.RpcError):
            for said in incoming:
                self.reads.wait()
                with self.lock:
                    self._take(stream, said)
        stream.outbox.put(None)

    def _take(self, stream: Stream, said) -> None:
        if said.HasField("node"):
            stream.node = said.node.metadata.fields["NODE_NAME"].string_value
        is_first = said.HasField("node")
        request = Request(stream.node, said.type_url, said.response_nonce, said.error_detail.message, dict(said.initial_resource_versions),
                          list(said.resource_names_subscribe), list(said.resource_names_unsubscribe), is_first)
        self.requests.append(request)
        if said.type_url not in self.known:
            return
        known = self.known[said.type_url]
        if is_first:
            stream.types.add(said.type_url)
            if self.is_silent:
                return
            if "*" in request.unsubscribe:
                stream.types.discard(said.type_url)
                stream.on_demand.add("*")
                wanted = [name for name in request.subscribe if name != "*"]
                stream.on_demand |= set(wanted)
                fresh = [name for name, (version, one) in known.items()
                         if (name in wanted or self._is_near(stream, one)) and request.initial.get(name) != version]
                stream.on_demand |= set(fresh)
                self._post(stream, self.response(said.type_url, fresh, [name for name in wanted if name not in known]))
                return
            else:
                fresh = [name for name, (version, _) in known.items() if request.initial.get(name) != version]
                self._post(stream, self.response(said.type_url, fresh, request.initial.keys() - known.keys()))
        wanted = request.subscribe
        is_changed = not stream.on_demand.issuperset(wanted) or bool(stream.on_demand & set(request.unsubscribe))
        stream.on_demand = (stream.on_demand | set(wanted)) - set(request.unsubscribe)
        if "*" not in stream.on_demand or not is_changed:  # what was asked for before gets no second answer
            return
        if not wanted:  # istiod's, too: nothing to send is everything removed
            self._post(stream, self.response(said.type_url, [], stream.on_demand - {"*"}))
        if self.answers_names is False:
            return
        if self.answers_names is True:
            self._answer_names(stream, wanted)
        else:
            threading.Timer(self.answers_names, self._answer_names, (stream, wanted)).start()

    def _answer_names(self, stream: Stream, wanted: list[str]) -> None:
        with self.lock:
            known = self.known[proto.ADDRESS]
            found = [name for name in known if any(self.is_meant(name, known[name][1], asked) for asked in wanted)]
            missing = [asked for asked in wanted if not any(self.is_meant(name, known[name][1], asked) for name in found)]
            services = {name for name in found if known[name][1].WhichOneof("type") == "service"}
            found += [name for name, (_, one) in known.items() if name not in found and services & set(one.workload.services)]
            stream.on_demand |= set(found)
            self._post(stream, self.response(proto.ADDRESS, found, missing))

    @staticmethod
    def is_meant(name: str, message, asked: str) -> bool:
        """Whether a name that an agent asks for, "NETWORK/IP", "NAMESPACE/HOSTNAME" or a uid, means this address."""
        if name == asked:
            return True
        _, _, text = asked.partition("/")
        with contextlib.suppress(ValueError):
            wanted = proto.address_bytes(text)
            if message.WhichOneof("type") == "workload":
                return wanted in message.workload.addresses
            return any(wanted == one.address for one in message.service.addresses)
        return False

    def _certificate(self, said, context):
        metadata = dict(context.invocation_metadata())
        identity = said.metadata.fields["ImpersonatedIdentity"].string_value
        token = (metadata.get("authorization") or "").removeprefix("Bearer ") or None
        if token not in self.tokens:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not valid")
        call = scripted_ca.Call(identity, x509.load_pem_x509_csr(said.csr.encode()), token,
                                metadata.get("clusterid"))
        try:
            return proto.messages().IstioCertificateResponse(cert_chain=self.ca.answer(call))
        except scripted_ca.Refused as refused:
            context.abort(refused.code, str(refused))
