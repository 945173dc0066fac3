# SPDX-License-Identifier: Apache-2.0
"""A CA that an operator plugs into istiod: roots, intermediates that istiod signs with, and the directory (of the secret `cacerts`) that it
watches. Every root has the same name, as roots that one script made do; key identifiers tell them apart.
"""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .authority import Authority, Credentials
from .scripted_ca import OTHER_USES, now, to_pem

DAY = datetime.timedelta(days=1)


class Root:
    """A self-signed certificate, and one intermediate under it."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        directory.mkdir()
        self.key, self.intermediate_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.certificate = self._sign("Root CA", self.key)
        self.intermediate = self._sign("Intermediate CA", self.intermediate_key)
        (directory / "root.crt").write_text(self.pem)
        (directory / "root.key").write_text(_key_pem(self.key))

    @property
    def pem(self) -> str:
        return to_pem(self.certificate)

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    def credentials(self, identity: str) -> Credentials:
        """A leaf that the root itself has signed, for somebody who trusts nobody else."""
        return Authority(self.directory / "issued", self.directory / "root.crt", self.directory / "root.key").credentials(identity)

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Istio"), x509.NameAttribute(NameOID.COMMON_NAME, one)])
                           for one in (name, "Root CA"))
        uses = OTHER_USES | {"digital_signature": True, "key_encipherment": False, "key_cert_sign": True, "crl_sign": True}
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now() - DAY).not_valid_after(now() + 30 * DAY)
                .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                .add_extension(x509.KeyUsage(**uses), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
                .sign(self.key, hashes.SHA256()))


class CertificateDirectory:
    """istiod's ROOT_CA_DIR. Each file appears whole, as a mounted secret's do."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        path.mkdir(exist_ok=True)

    def sign_with(self, root: Root) -> None:
        chain = to_pem(root.intermediate) + root.pem
        self._put(**{"ca-cert.pem": to_pem(root.intermediate), "ca-key.pem": _key_pem(root.intermediate_key), "cert-chain.pem": chain})

    def trust(self, *roots: Root) -> None:
        self._put(**{"root-cert.pem": "".join(root.pem for root in roots)})

    def _put(self, **files: str) -> None:
        aside = self.path.with_suffix(".new")
        for name, text in files.items():
            aside.write_text(text)
            aside.rename(self.path / name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
