# SPDX-License-Identifier: Apache-2.0
"""Certificates for peers that are not Culvert: leaves of the mesh's own CA (the agents' embedded one), or of one made here.

Everything is done by the openssl program, at test time.
"""

import dataclasses
import pathlib
import typing

from . import run

if typing.TYPE_CHECKING:
    from .world import World


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Paths of one end's certificate and key, and of the CA that it trusts."""

    certificate: str
    key: str
    ca: str


class Authority:
    def __init__(self, directory: pathlib.Path, certificate: pathlib.Path, key: pathlib.Path):
        self.directory, self.certificate, self.key = directory, certificate, key
        directory.mkdir(exist_ok=True)
        self.count = len(list(directory.glob("leaf*.crt")))  # another one may have issued here before
        self.lists = len(list(directory.glob("crl*.d")))

    @classmethod
    def new(cls, directory: pathlib.Path) -> "Authority":
        directory.mkdir(exist_ok=True)
        certificate, key = directory / "ca.crt", directory / "ca.key"
        run.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                 "/O=Culvert", "-keyout", str(key), "-out", str(certificate)])
        return cls(directory, certificate, key)

    @classmethod
    def of(cls, world: "World") -> "Authority":
        """The mesh's own, once an agent has made it; before that, and in worlds without agents, one made here."""
        made = world.directory / "ca"
        if (made / "ca.key").exists():
            return cls(world.directory / "issued", made / "ca.crt", made / "ca.key")
        return cls.new(world.directory / "peer-ca")

    def credentials(self, identity: str) -> Credentials:
        """A right certificate for this SPIFFE ID, for both roles."""
        certificate, key = self.issue(san=f"URI:{identity}")
        return Credentials(certificate, key, str(self.certificate))

    def revocation_list(self, serials: list[int]) -> str:
        """A CRL in PEM, good for a day, that takes these certificates back."""
        self.lists += 1
        work = self.directory / f"crl{self.lists}.d"
        work.mkdir()
        hexadecimal = [f"{serial:x}" for serial in serials]
        (work / "index").write_text("".join(f"R\t400101000000Z\t240101000000Z\t{'0' * (len(one) % 2)}{one.upper()}\tunknown\t/O=test\n"
                                            for one in hexadecimal))
        config = work / "conf"
        config.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index\ndefault_md=sha256\nunique_subject=no\ndefault_crl_days=1\n")
        return run.run(["openssl", "ca", "-gencrl", "-config", str(config), "-cert", str(self.certificate), "-keyfile", str(self.key)]).stdout

    def issue(self, *, san: str | None, begins: str | None = None, ends: str | None = None, usage: str = "serverAuth,clientAuth",
              ca_flag: bool = False) -> tuple[str, str]:
        """Paths of a certificate and its key."""
        self.count += 1
        base = self.directory / f"leaf{self.count}"
        key, request, certificate, extensions = (base.with_suffix(s) for s in (".key", ".csr", ".crt", ".ext"))
        run.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/O=test", "-keyout", str(key),
                 "-out", str(request)])
        lines = ["[x]", f"basicConstraints=critical,CA:{'TRUE' if ca_flag else 'FALSE'}", "keyUsage=critical,digitalSignature",
                 f"extendedKeyUsage={usage}"]
        if san:
            lines.append(f"subjectAltName=critical,{san}")
        extensions.write_text("\n".join(lines) + "\n")
        # `openssl ca` is the one command that sets both ends of the validity.
        work = base.with_suffix(".d")
        work.mkdir()
        (work / "index").write_text("")
        (work / "serial").write_text(f"{self.count + 1000:04x}\n")
        config = work / "conf"
        config.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index\nserial={work}/serial\nnew_certs_dir={work}\ndefault_md=sha256\n"
                          "policy=p\nunique_subject=no\nemail_in_dn=no\n[p]\norganizationName=optional\n")
        validity = ["-startdate", begins, "-enddate", ends] if begins and ends else ["-days", "1"]
        run.run(["openssl", "ca", "-batch", "-notext", "-config", str(config), "-cert", str(self.certificate), "-keyfile", str(self.key), "-in",
                 str(request), "-out", str(certificate), "-extfile", str(extensions), "-extensions", "x", *validity])
        return str(certificate), str(key)
