"""TLS of DICOM connections, with certificates on both sides (PS3.15 B.12)."""

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscope.errors import PneumoscopeError

HANDSHAKE_SECONDS = 30


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM format.

    Attributes:
        cert: certificate of this program.
        key: its private key.
        ca: certificates of the authorities whose certificates are accepted from the other side.
    """

    cert: Path
    key: Path
    ca: Path

    @classmethod
    def parse(cls, cert: Path | None, key: Path | None, ca: Path | None) -> "TlsFiles | None":
        """Return the files of the options, None if there is none.

        Raises:
            PneumoscopeError: if some are missing.
        """
        if cert and key and ca:
            return cls(cert, key, ca)
        if cert or key or ca:
            raise PneumoscopeError("TLS has certificates on both sides; expected --tls-cert, --tls-key and --tls-ca")
        return None

    def make_server_context(self) -> ssl.SSLContext:
        """Return the settings of the listener, which accepts certificates of `ca` only.

        Raises:
            PneumoscopeError: if a file cannot be used.
        """
        context = self._load(_LateHandshake(ssl.PROTOCOL_TLS_SERVER))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def make_client_context(self) -> ssl.SSLContext:
        """Return the settings of a connection to a listener; its certificate must name its host.

        Raises:
            PneumoscopeError: if a file cannot be used.
        """
        return self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
            context.load_verify_locations(self.ca)
        except OSError as error:  # among them SSLError
            files = f"{self.cert}, {self.key}, {self.ca}"
            raise PneumoscopeError(f"{files}: {error.strerror or error}; expected PEM files of one key pair") from None
        return context


class _LateHandshake(ssl.SSLContext):
    """Leaves the handshake to the thread of a connection. In `accept`, a silent caller would keep all others out."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE_SECONDS)
        return super().wrap_socket(sock, *args, **options | {"do_handshake_on_connect": False})


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("pacs.example.org")
        (True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
