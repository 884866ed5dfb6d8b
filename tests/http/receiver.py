"""A peer on a real socket that runs a test's script, which may break the protocol."""

import contextlib
import datetime as dt
import ipaddress
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Visit:
    """One connection, as the peer sees it; `number` counts the connections from 1."""

    def __init__(self, connection: socket.socket, number: int, over: threading.Event) -> None:
        self.connection = connection
        self.number = number
        self.over = over

    def read_request(self) -> bytes:
        """Return the next whole request; empty when the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += (piece := self.connection.recv(65_536))
            if not piece:
                return b""
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self.connection.recv(65_536)
        return head + b"\r\n\r\n" + body

    def send(self, *pieces: bytes) -> None:
        self.connection.sendall(b"".join(pieces))

    def drip(self, pieces: Iterable[bytes], every_seconds: float = 0.02) -> None:
        """Send one piece after another, until the client goes or the test ends."""
        for piece in pieces:
            self.connection.sendall(piece)
            if self.over.wait(every_seconds):
                return

    def hang(self) -> None:
        self.over.wait()


class Receiver:
    """Listens on loopback and runs `script` for each connection, which is closed when the script ends.

    `requests` holds what scripts have read with `read_request`, in order.
    """

    def __init__(
        self,
        script: Callable[["Receiver", Visit], None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._scheme = "https" if tls else "http"

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def read(self, visit: Visit) -> bool:
        """Read one request into `requests`; return False when the client has gone."""
        request = visit.read_request()
        if request:
            self.requests.append(request)
        return bool(request)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.add(connection)
                self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls:
                self._open.discard(connection)
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
                self._open.add(connection)
            self._script(self, Visit(connection, number, self._over))


def answering(*answers: bytes) -> Callable[[Receiver, Visit], None]:
    """A script that keeps the connection and gives each request the next answer; the last one is repeated."""
    queue: Iterator[bytes] = itertools.chain(answers, itertools.repeat(answers[-1]))

    def script(receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            visit.send(next(queue))

    return script


def answering_once(answer: bytes) -> Callable[[Receiver, Visit], None]:
    """A script that answers one request and closes the connection."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(answer)

    return script


def dripping(beginning: bytes, *pieces: bytes) -> Callable[[Receiver, Visit], None]:
    """A script that reads the request, sends the beginning of an answer, then sends `pieces` slowly, without end."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(beginning)
        visit.drip(itertools.cycle(pieces))

    return script


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority for one test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        certificate = self._builder(self._name, self._key, days=1)
        certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = certificate.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.path = folder / "authority.pem"
        self.path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self, host: str, *, days: int = 1) -> ssl.SSLContext:
        """Return the TLS context of a server called `host`; with negative `days` its certificate has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test server")])
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = self._builder(name, key, days=days)
        certificate = certificate.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        path = self._folder / f"{host}{days}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def trust(self) -> ssl.SSLContext:
        """Return the TLS context of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.path)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=30))
            .not_valid_after(now + dt.timedelta(days=days))
            # A strict client, as Python is from 3.13 on, wants every certificate to name its key and its issuer's.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
