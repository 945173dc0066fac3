# SPDX-License-Identifier: Apache-2.0
"""A control plane for one agent: delta discovery over plaintext gRPC on loopback. Responses are bytes that stand ready before they are timed.

Started in the node's namespace; takes one JSON command a line on standard input and answers each with one line: {"seconds": ...}, from the moment
when a response was given to gRPC until the agent acknowledged it, which it does when workers have what is new.
"""

import concurrent.futures
import json
import queue
import random
import sys
import threading
import time

import grpc

from . import mesh_messages as messages

METHOD = "envoy.service.discovery.v3.AggregatedDiscoveryService"
PATIENCE_S = 120


class Discovery:
    def __init__(self):
        self.outgoing: queue.Queue[bytes | None] = queue.Queue()
        self.acknowledged: queue.Queue[tuple[str, float, str]] = queue.Queue()  # nonce, when, error
        self.asked = threading.Event()  # the agent wants addresses
        self.shape = messages.Shape(0, 0)
        self.nonces = 0

    def stream(self, requests, context):
        def read() -> None:
            try:
                for request in requests:
                    self.received(messages.fields(request))
            except grpc.RpcError:
                pass
            self.outgoing.put(None)

        threading.Thread(target=read, daemon=True).start()
        while (response := self.outgoing.get()) is not None:
            yield response

    def received(self, request: dict[int, list]) -> None:
        now = time.monotonic()
        type_url = request[2][0].decode()
        if nonce := request.get(6):
            error = messages.fields(request[7][0]).get(2, [b"unknown"])[0].decode() if 7 in request else ""
            self.acknowledged.put((nonce[0].decode(), now, error))
        elif type_url == messages.ADDRESS_TYPE:
            self.asked.set()
        else:
            self.outgoing.put(messages.response(type_url, "empty"))

    def send(self, resources: bytes) -> float:
        """Seconds until the agent had taken it over."""
        self.nonces += 1
        nonce = str(self.nonces)
        response = messages.response(messages.ADDRESS_TYPE, nonce, resources)
        began = time.monotonic()
        self.outgoing.put(response)
        while True:
            acknowledged, when, error = self.acknowledged.get(timeout=PATIENCE_S)
            if acknowledged == nonce:
                if error:
                    raise RuntimeError(f"the agent refused: {error}")
                return when - began

    # Commands.
    def push(self, workloads: int, services: int, **shape) -> dict:
        self.shape = messages.Shape(workloads, services, **shape)
        resources = messages.mesh(self.shape)
        if not self.asked.wait(PATIENCE_S):
            raise RuntimeError("no agent has asked for addresses")
        return {"seconds": self.send(resources), "bytes": len(resources)}

    def change(self, count: int) -> dict:
        """Single pods that turn unhealthy, each in a response of its own once the one before was acknowledged."""
        chosen = random.Random(self.nonces).sample(range(self.shape.workloads), count)
        responses = [messages.workload(self.shape, i, is_healthy=False) for i in chosen]
        took = sorted(self.send(response) for response in responses)
        return {"seconds": took[len(took) // 2]}


def main() -> None:
    discovery = Discovery()
    handler = grpc.method_handlers_generic_handler(METHOD, {"DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(discovery.stream)})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(discovery, command.pop("do"))(**command)
        except (RuntimeError, queue.Empty) as error:
            answer = {"error": str(error) or "the agent acknowledged nothing in time"}
        print(json.dumps(answer), flush=True)
    server.stop(None)


if __name__ == "__main__":
    main()
