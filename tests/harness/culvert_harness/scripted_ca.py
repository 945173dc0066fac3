# SPDX-License-Identifier: Apache-2.0
"""The certificate service of a scripted control plane: a right CA, and every answer that a right one would not give.

    ca.faults[identity] = scripted_ca.expired     # for that identity only; ca.fault = ... for everybody
"""

import dataclasses
import datetime
import threading
import time
import typing

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OTHER_USES = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
                           False)
HOUR = datetime.timedelta(hours=1)


class Refused(Exception):
    """Becomes the call's gRPC status."""

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


class Issuer:
    """A self-signed CA with its key, in memory."""

    def __init__(self, organization: str = "Culvert"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
        self.certificate = (x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name).public_key(self.key.public_key())
                            .serial_number(x509.random_serial_number()).not_valid_before(now() - 24 * HOUR).not_valid_after(now() + 24 * HOUR)
                            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                            .sign(self.key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        return to_pem(self.certificate)

    def issue(self, public_key, names: list[x509.GeneralName], *, begins: datetime.timedelta = -HOUR / 30,
              ends: datetime.timedelta = HOUR) -> x509.Certificate:
        """A leaf for both roles, valid from `begins` to `ends` counted from now."""
        return (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.name).public_key(public_key)
                .serial_number(x509.random_serial_number()).not_valid_before(now() + begins).not_valid_after(now() + ends)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(x509.KeyUsage(digital_signature=True, key_encipherment=True, **OTHER_USES), critical=True)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
                .add_extension(x509.SubjectAlternativeName(names), critical=True).sign(self.key, hashes.SHA256()))

    def server_credentials(self, names: list[x509.GeneralName]) -> tuple[bytes, bytes]:
        """(key, chain) in PEM, for a gRPC server with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return encoded, (to_pem(self.issue(key.public_key(), names)) + self.pem).encode()


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def uri(identity: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(identity)


@dataclasses.dataclass
class Call:
    identity: str  # what the request says that it is for
    csr: x509.CertificateSigningRequest
    token: str | None
    cluster: str | None
    at: float = dataclasses.field(default_factory=time.monotonic)


class ScriptedCa:
    def __init__(self) -> None:
        self.issuer = Issuer()
        self.lifetime = HOUR
        self.calls: list[Call] = []
        self.fault: typing.Callable[["ScriptedCa", Call], list[str]] | None = None
        self.faults: dict[str, typing.Callable[["ScriptedCa", Call], list[str]]] = {}
        self.released = threading.Event()  # ends what hangs

    def calls_for(self, identity: str) -> list[Call]:
        return [call for call in list(self.calls) if call.identity == identity]

    def answer(self, call: Call) -> list[str]:
        """The chain: leaf, then roots. A fault may raise Refused."""
        self.calls.append(call)
        fault = self.faults.get(call.identity, self.fault)
        return (fault or right)(self, call)


def right(ca: ScriptedCa, call: Call) -> list[str]:
    return [to_pem(ca.issuer.issue(call.csr.public_key(), [uri(call.identity)], ends=ca.lifetime)), ca.issuer.pem]


# The faults. Nothing but what the name says is wrong with an answer.
def refuses(_ca: ScriptedCa, call: Call) -> list[str]:
    raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"no pod with {call.identity} on that node")


def hangs(ca: ScriptedCa, call: Call) -> list[str]:
    ca.released.wait(60)
    return right(ca, call)


def wrong_identity(ca: ScriptedCa, call: Call) -> list[str]:
    return [to_pem(ca.issuer.issue(call.csr.public_key(), [uri("spiffe://cluster.local/ns/kube-system/sa/admin")])), ca.issuer.pem]


def other_key(ca: ScriptedCa, call: Call) -> list[str]:
    return [to_pem(ca.issuer.issue(ec.generate_private_key(ec.SECP256R1()).public_key(), [uri(call.identity)])), ca.issuer.pem]


def expired(ca: ScriptedCa, call: Call) -> list[str]:
    return [to_pem(ca.issuer.issue(call.csr.public_key(), [uri(call.identity)], begins=-3 * HOUR, ends=-HOUR)), ca.issuer.pem]


def not_yet_valid(ca: ScriptedCa, call: Call) -> list[str]:
    return [to_pem(ca.issuer.issue(call.csr.public_key(), [uri(call.identity)], begins=HOUR, ends=3 * HOUR)), ca.issuer.pem]


def garbage(_ca: ScriptedCa, _call: Call) -> list[str]:
    return ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\x7fELF"]


def two_names(ca: ScriptedCa, call: Call) -> list[str]:
    names = [uri(call.identity), uri("spiffe://cluster.local/ns/kube-system/sa/admin")]
    return [to_pem(ca.issuer.issue(call.csr.public_key(), names)), ca.issuer.pem]


def other_root(ca: ScriptedCa, call: Call) -> list[str]:
    """A good leaf beside the root of another CA."""
    return [right(ca, call)[0], Issuer("Another").pem]


def empty(_ca: ScriptedCa, _call: Call) -> list[str]:
    return []
