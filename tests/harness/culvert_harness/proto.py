# SPDX-License-Identifier: Apache-2.0
"""The messages of proto/, and of secret.proto here, as Python classes, compiled by protoc at the first use and kept in memory:
`proto.messages().Workload(...)`.

Names that two packages have (Address) carry their package: `SecurityAddress` is istio.security's.
"""

import functools
import ipaddress
import subprocess
import types

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from . import run

FILES = ("proto/discovery.proto", "proto/workload.proto", "proto/authorization.proto", "proto/certificate.proto",
         "tests/harness/culvert_harness/secret.proto")
ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
RENAMED = {"istio.security.Address": "SecurityAddress"}


@functools.cache
def messages() -> types.SimpleNamespace:
    compiled = subprocess.run(["protoc", f"-I{run.ROOT}", "--include_imports", "--descriptor_set_out=/dev/stdout",
                               *FILES], capture_output=True, check=True)
    pool, made = descriptor_pool.DescriptorPool(), {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.stdout).file:
        pool.Add(file)
        for message in file.message_type:
            full = f"{file.package}.{message.name}"
            made[RENAMED.get(full, message.name)] = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(full))
    return types.SimpleNamespace(**made)


def address_bytes(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def workload(name: str, namespace: str, node: str, addresses: list[str], **fields):
    """An Address with a Workload as istiod says a meshed pod of the cluster "Kubernetes"; `fields` are more of the message's."""
    m = messages()
    services = fields.pop("services", {})
    said = m.Workload(**({"uid": f"Kubernetes//Pod/{namespace}/{name}", "name": name, "namespace": namespace, "node": node,
                          "addresses": [address_bytes(a) for a in addresses], "tunnel_protocol": 1, "trust_domain": "cluster.local",
                          "service_account": name, "cluster_id": "Kubernetes", "canonical_name": name, "workload_type": 2,
                          "workload_name": name} | fields))
    for key, ports in services.items():
        for service_port, target_port in ports.items():
            said.services[key].ports.add(service_port=service_port, target_port=target_port)
        if not ports:
            said.services[key].SetInParent()
    return m.Address(workload=said)


def service(name: str, namespace: str, address: str, ports: dict[int, int], **fields):
    m = messages()
    return m.Address(service=m.Service(name=name, namespace=namespace, hostname=f"{name}.{namespace}.svc.cluster.local",
                                       addresses=[m.NetworkAddress(address=address_bytes(address))],
                                       ports=[m.Port(service_port=a, target_port=b) for a, b in ports.items()], **fields))


def deny(name: str, namespace: str, *accounts: str, action: int = 1, scope: int = 1):
    """An Authorization about clients with these service accounts of its own namespace; DENY unless another action is said."""
    m = messages()
    match = m.Match(service_accounts=[m.ServiceAccountMatch(namespace=namespace, serviceAccount=account) for account in accounts])
    return m.Authorization(name=name, namespace=namespace, scope=scope, action=action, rules=[m.Rule(clauses=[m.Clause(matches=[match])])])


def aliases(said) -> list[str]:
    """The names of an Address besides its own, as istiod says them: "NETWORK/IP" of each."""
    if said.WhichOneof("type") == "workload":
        pairs = [(said.workload.network, one) for one in said.workload.addresses]
    else:
        pairs = [(one.network, one.address) for one in said.service.addresses]
    return [f"{network}/{ipaddress.ip_address(packed)}" for network, packed in pairs]


def name_of(said) -> tuple[str, str]:
    """(type URL, resource name) as istiod names it."""
    if said.DESCRIPTOR.full_name == "istio.security.Authorization":
        return AUTHORIZATION, f"{said.namespace}/{said.name}"
    if said.WhichOneof("type") == "workload":
        return ADDRESS, said.workload.uid
    return ADDRESS, f"{said.service.namespace}/{said.service.hostname}"
