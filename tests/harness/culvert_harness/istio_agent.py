# SPDX-License-Identifier: Apache-2.0
"""What istio's agent does beside an Envoy in a pod: gets the pod's certificate from istiod's CA with the pod's own token, and hands it to
Envoy as its secret discovery service. Certificates are never made here.
"""

import contextlib
import os
import pathlib
from concurrent import futures

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

from . import proto  # noqa: E402
from .netns import Netns  # noqa: E402
from .passage import Passage  # noqa: E402

ISTIOD_NAME = "istiod.istio-system.svc"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def create_certificate(netns: Netns, address: tuple[str, int], path: str, *, token: str, roots: str) -> tuple[str, str, str]:
    """(key, chain, trust roots) in PEM of whoever the token belongs to. The call leaves from `netns`; `path` is a socket to make for it."""
    m = proto.messages()
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    options = [("grpc.ssl_target_name_override", ISTIOD_NAME)]
    with Passage(netns, address, path) as way, grpc.secure_channel(way.target, grpc.ssl_channel_credentials(roots.encode()), options) as channel:
        call = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate", m.IstioCertificateRequest.SerializeToString,
                                   m.IstioCertificateResponse.FromString)
        answer = call(m.IstioCertificateRequest(csr=request.public_bytes(serialization.Encoding.PEM).decode(), validity_duration=3600),
                      metadata=(("authorization", f"Bearer {token}"), ("clusterid", "Kubernetes")), timeout=20)
    *chain, trusted = answer.cert_chain
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain.decode(), "".join(chain), trusted


class SecretServer:
    """Serves one identity's secrets on a unix socket while the block runs: `default` and `ROOTCA`, the names that istiod tells proxies."""

    def __init__(self, path: pathlib.Path, key: str, chain: str, roots: str):
        m = proto.messages()
        self.path = path
        self.secrets = {
            "default": m.Secret(name="default", tls_certificate=m.TlsCertificate(
                certificate_chain=m.DataSource(inline_string=chain), private_key=m.DataSource(inline_string=key))),
            "ROOTCA": m.Secret(name="ROOTCA", validation_context=m.CertificateValidationContext(trusted_ca=m.DataSource(inline_string=roots)))}
        handler = grpc.stream_stream_rpc_method_handler(self._stream, m.SecretRequest.FromString, m.SecretResponse.SerializeToString)
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "envoy.service.secret.v3.SecretDiscoveryService", {"StreamSecrets": handler}),))

    def __enter__(self) -> "SecretServer":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.server.add_insecure_port(f"unix:{self.path}")
        self.server.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.server.stop(0)

    def _stream(self, requests, _context):
        m = proto.messages()
        told: set[str] = set()
        for request in requests:
            names = set(request.resource_names)
            if names <= told:  # an acknowledgement
                continue
            told = names
            response = m.SecretResponse(version_info="1", type_url=SECRET, nonce="1")
            for name in sorted(names & self.secrets.keys()):
                response.resources.add(type_url=SECRET, value=self.secrets[name].SerializeToString())
            yield response
