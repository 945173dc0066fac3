# SPDX-License-Identifier: Apache-2.0
"""A collector of spans, OTLP over gRPC. What arrives is read by OpenTelemetry's own messages (scripts/otlp-messages), not by those of proto/.

Left alone it takes everything. A test may have it answer anything (`answer`), refuse, hold and cut the connections of one node (`wires`), and stop.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import sys
import time
import types
import typing
from concurrent import futures

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # programs are started beside a running server
import grpc  # noqa: E402

from . import run  # noqa: E402
from .wire import Wire  # noqa: E402

if typing.TYPE_CHECKING:
    from .world import World

PORT = 4317
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
CLIENT, SERVER = 3, 2  # SpanKind
UNSET, ERROR = 0, 2    # StatusCode


@functools.cache
def messages() -> types.SimpleNamespace:
    """Installs them when they are not here."""
    sys.path.append(run.run([str(run.ROOT / "scripts" / "otlp-messages")], timeout=300).stdout.strip())
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    return types.SimpleNamespace(Request=trace_service_pb2.ExportTraceServiceRequest, Response=trace_service_pb2.ExportTraceServiceResponse,
                                 Partial=trace_service_pb2.ExportTracePartialSuccess)


def plain(pairs) -> dict[str, typing.Any]:
    """Attributes as a dict; each key stands once."""
    made = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
    assert len(made) == len(pairs), [pair.key for pair in pairs]
    return made


@dataclasses.dataclass
class Span:
    trace: str
    id: str
    parent: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    flags: int
    status: int
    message: str
    attributes: dict[str, typing.Any]
    resource: dict[str, typing.Any]

    @property
    def node(self) -> str:
        return self.resource["k8s.node.name"]


class Refusal(Exception):
    """An answer other than OK; `details` is the trailer grpc-status-details-bin."""

    def __init__(self, code: grpc.StatusCode, text: str = "", details: bytes = b""):
        super().__init__(text)
        self.code, self.text, self.details = code, text, details


def spans_of(request) -> list[Span]:
    made = []
    for ours in request.resource_spans:
        for scope in ours.scope_spans:
            assert scope.scope.name == "culvert" and scope.scope.version
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8)
                made.append(Span(span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
                                 span.start_time_unix_nano, span.end_time_unix_nano, span.flags, span.status.code, span.status.message,
                                 plain(span.attributes), plain(ours.resource.attributes)))
    return made


class Collector:
    """Listens on 127.0.0.1:4317 of every node of `world`. With `credentials` it speaks TLS."""

    def __init__(self, world: "World", credentials: grpc.ServerCredentials | None = None):
        self.world, self.credentials = world, credentials
        self.path = str(world.directory / "collector.sock")
        self.calls: list[tuple[float, list[Span], dict[str, str]]] = []  # of every call: when, what, with which metadata
        self.taken: list[Span] = []  # of those that were answered with OK
        self.answer: typing.Callable[[typing.Any], typing.Any] | None = None  # from a request to a Response; may raise Refusal
        self.compression = grpc.Compression.NoCompression  # of answers, where the agent takes it
        self.wires: dict[str, Wire] = {}
        self.server: grpc.Server | None = None

    def __enter__(self) -> "Collector":
        m = messages()
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(
            self._export, m.Request.FromString, m.Response.SerializeToString)}),))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        where = f"unix:{self.path}"
        assert (server.add_secure_port(where, self.credentials) if self.credentials else server.add_insecure_port(where)) != 0
        server.start()
        self.server = server
        for node in self.world.nodes.values():
            self.wires[node.letter] = Wire(node.netns, self.path, PORT)
        return self

    def __exit__(self, *_exc) -> None:
        for wire in self.wires.values():
            wire.close()
        self.server.stop(0).wait(5)

    def _export(self, request, context):
        spans = spans_of(request)
        self.calls.append((time.monotonic(), spans, dict(context.invocation_metadata())))
        try:
            response = messages().Response() if self.answer is None else self.answer(request)
        except Refusal as refusal:
            if refusal.details:
                context.set_trailing_metadata((("grpc-status-details-bin", refusal.details),))
            context.abort(refusal.code, refusal.text or "as the test says")
        self.taken += spans
        context.set_compression(self.compression)
        return response

    def traces(self) -> dict[str, list[Span]]:
        """What was taken, by trace; the client's span first."""
        made = collections.defaultdict(list)
        for span in sorted(self.taken, key=lambda one: -one.kind):
            made[span.trace].append(span)
        return dict(made)

    def wait_for(self, count: int, timeout: float = 20.0) -> list[Span]:
        run.wait_for(lambda: len(self.taken) >= count, f"{count} spans", timeout)
        assert len(self.taken) == count, [(span.node, span.name) for span in self.taken]
        return self.taken
