"""A real receiver of webhooks on this machine, which answers as it is told."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What has come so far, and the statuses of the next answers; 200 when there are none left.

    `way` says how it answers: `plain`, `hold` (not at all), `drip` (a header that never ends) or
    `flood` (a body that never ends).
    """

    url: str = ""
    port: int = 0
    way: str = "plain"
    statuses: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(handler.path, headers, handler.rfile.read(length)))
        if self.way == "hold":
            self.closing.wait()
            return
        if self.way == "drip":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.closing.wait(0.02):
                handler.wfile.write(b"x")
            return
        handler.send_response(self.statuses.pop(0) if self.statuses else 200)
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()
        while self.way == "flood" and not self.closing.is_set():
            handler.wfile.write(b"x" * 65536)


@contextmanager
def receiving(
    certificate: Path | None = None, address: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[Receiver]:
    """A receiver on this machine; over TLS if there is a file with key and certificate."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                receiver.answer(self)
            except OSError:
                self.close_connection = True  # the sender has hung up

        do_GET = do_POST  # noqa: N815 - as above

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(address, Handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.port = server.server_address[1]
    receiver.url = f"http{'s' if certificate else ''}://{address[0]}:{receiver.port}/hook"
    try:
        yield receiver
    finally:
        receiver.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def certificate_for(name: str, folder: Path) -> Path:
    """A file with a key and a certificate that it has signed itself, for the host of that name."""
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file
