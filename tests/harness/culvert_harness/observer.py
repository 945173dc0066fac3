# SPDX-License-Identifier: Apache-2.0
"""What a control plane says, as an agent's node hears it, written down with the time: a client of delta discovery that acknowledges everything.

For a control plane in a namespace, reached in plain text: the port that is meant for it.
"""

import os
import pathlib
import queue
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # noqa: E402

from . import proto  # noqa: E402
from .netns import Netns  # noqa: E402
from .passage import Passage  # noqa: E402

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class Observer:
    """While the block runs. `seen`: (monotonic time, type URL, resource name, its bytes; None where it was removed)."""

    def __init__(self, netns: Netns, port: int, directory: pathlib.Path, metadata: dict[str, str], node_id: str):
        self.passage = Passage(netns, ("127.0.0.1", port), str(directory / "observer.sock"))
        self.metadata, self.node_id = metadata, node_id
        self.seen: list[tuple[float, str, str, bytes | None]] = []
        self.errors: list[str] = []
        self._requests: queue.SimpleQueue = queue.SimpleQueue()

    def first(self, url: str, name: str, holds=lambda value: True) -> float | None:
        """When that resource came first, with bytes of which `holds` is true."""
        return next((at for at, u, n, value in list(self.seen) if u == url and n == name and value is not None and holds(value)), None)

    def __enter__(self) -> "Observer":
        self.passage.__enter__()
        m = proto.messages()
        self._channel = grpc.insecure_channel(self.passage.target, options=[("grpc.max_receive_message_length", -1)])
        for url in (proto.ADDRESS, proto.AUTHORIZATION):
            request = m.DeltaDiscoveryRequest(type_url=url)
            request.node.id = self.node_id
            for key, value in self.metadata.items():
                request.node.metadata.fields[key].string_value = value
            self._requests.put(request)
        call = self._channel.stream_stream(METHOD, m.DeltaDiscoveryRequest.SerializeToString, m.DeltaDiscoveryResponse.FromString)
        self._call = call(iter(self._requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_exc) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()
        self.passage.__exit__()

    def _read(self) -> None:
        try:
            for said in self._call:
                now = time.monotonic()
                self.seen += [(now, said.type_url, one.name, one.resource.value) for one in said.resources]
                self.seen += [(now, said.type_url, name, None) for name in said.removed_resources]
                self._requests.put(proto.messages().DeltaDiscoveryRequest(type_url=said.type_url, response_nonce=said.nonce))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                self.errors.append(str(error))
