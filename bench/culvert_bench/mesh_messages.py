# SPDX-License-Identifier: Apache-2.0
"""A large mesh as the bytes that istiod would send (istio.workload.Address in a delta discovery response), encoded by hand.

Pods of deployments: uid, names, one address, node, locality, the one service that they belong to; names, aliases and versions of the resources are
formed as istiod's are.
"""

import dataclasses
import hashlib
import ipaddress
import random

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
NAMESPACES, NODES, ZONES = 500, 1_000, 3
PODS_BASE, SERVICES_BASE = int(ipaddress.IPv4Address("10.0.0.1")), int(ipaddress.IPv4Address("172.16.0.1"))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def data(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def fields(message: bytes) -> dict[int, list]:
    """The fields of a message by number: bytes, or a number."""
    found: dict[int, list] = {}
    at = 0

    def read() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = read()
        value: int | bytes = read()
        if key & 7 == 2:
            at, value = at + value, message[at:at + value]
        elif key & 7 != 0:
            raise ValueError(f"wire type {key & 7} of field {key >> 3} is not used by this API")
        found.setdefault(key >> 3, []).append(value)
    return found


@dataclasses.dataclass(frozen=True)
class Shape:
    """`workloads` pods in turn over `services` services; services in turn over the namespaces."""

    workloads: int
    services: int
    node: str | None = None    # all of them on this node; else in turn over NODES
    accounts: int | None = None  # identities; else one for each service

    def namespace(self, service: int) -> str:
        return f"team-{service % NAMESPACES}"


def service(shape: Shape, i: int) -> bytes:
    namespace, name = shape.namespace(i), f"checkout-{i}"
    hostname = f"{name}.{namespace}.svc.cluster.local"
    address = ipaddress.IPv4Address(SERVICES_BASE + i)
    message = (data(1, name) + data(2, namespace) + data(3, hostname) + data(4, data(2, address.packed))
               + b"".join(data(5, number(1, port) + number(2, target)) for port, target in ((80, 8080), (443, 8443))))
    return resource(f"{namespace}/{hostname}", f"/{address}", data(2, message))


def workload(shape: Shape, i: int, *, is_healthy: bool = True) -> bytes:
    owner = i % shape.services
    namespace, app = shape.namespace(owner), f"checkout-{owner}"
    digest = hashlib.md5(f"pod {i}".encode(), usedforsecurity=False).hexdigest()
    name = f"{app}-{hashlib.md5(app.encode(), usedforsecurity=False).hexdigest()[:9]}-{digest[:5]}"
    uid = f"Kubernetes//Pod/{namespace}/{name}"
    address = ipaddress.IPv4Address(PODS_BASE + i)
    account = app if shape.accounts is None else f"account-{i % shape.accounts}"
    node = shape.node or f"worker-{i % NODES}.eu-west-1.compute.internal"
    ports = b"".join(data(1, number(1, port) + number(2, target)) for port, target in ((80, 8080), (443, 8443)))
    message = (data(1, name) + data(2, namespace) + data(3, address.packed) + number(5, 1) + data(7, account) + data(9, node) + data(10, app)
               + data(11, "v1") + number(12, 2) + data(13, app) + (b"" if is_healthy else number(17, 1)) + data(18, "Kubernetes") + data(20, uid)
               + data(22, data(1, f"{namespace}/{app}.{namespace}.svc.cluster.local") + data(2, ports))
               + data(24, data(1, "eu-west-1") + data(2, f"eu-west-1{'abc'[i % ZONES]}")))
    return resource(uid, f"/{address}", data(1, message))


def resource(name: str, alias: str, address: bytes) -> bytes:
    version = f"{int.from_bytes(hashlib.md5(address, usedforsecurity=False).digest()[:8], 'big'):x}"
    return data(2, data(1, version) + data(2, data(1, ADDRESS_TYPE) + data(2, address)) + data(3, name) + data(4, alias))


def response(type_url: str, nonce: str, resources: bytes = b"") -> bytes:
    return resources + data(4, type_url) + data(5, nonce)


def mesh(shape: Shape) -> bytes:
    """All resources, in no order, as istiod's come out of its maps."""
    made = [service(shape, i) for i in range(shape.services)] + [workload(shape, i) for i in range(shape.workloads)]
    random.Random(1).shuffle(made)
    return b"".join(made)
