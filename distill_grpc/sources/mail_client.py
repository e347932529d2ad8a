"""One connection to an IMAP server that nobody vouches for: a checked address, limits on everything.

Everything here blocks and belongs into a thread. Whoever waits for that thread may call `break_off` from
elsewhere, which ends any wait at once: no reply, however slow or endless, holds a thread for ever.
"""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from imap_tools import BaseMailBox
from imap_tools.utils import encode_folder

from distill_grpc.sources.base import PlatformError

MAX_REPLY = 64 * 1024 * 1024  # bytes of everything that answers one command
MAX_LITERAL = 26 * 1024 * 1024  # bytes; a message that is read has at most 25 MB
_MAX_LINE = 8 * 1024 * 1024  # bytes; the ids of about a million messages
_CONNECT_TIMEOUT = 10.0  # seconds for each address, and for the TLS handshake
_SILENCE = 30.0  # seconds without a byte, after which a server counts as dead
_LITERAL_PIECE = 1024 * 1024
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_NEWS = re.compile(rb"\* \d+ (?:EXISTS|EXPUNGE)|\* VANISHED .*")
_ITEM = re.compile(rb"\bUID (\d{1,10})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect to: addresses that were checked, and the name that the certificate must have."""

    host: str
    addresses: Sequence[str]
    port: int
    tls: str  # `implicit`, `starttls` or `none`
    context: ssl.SSLContext


class MailClient(BaseMailBox):
    """A connection, made by the constructor. Raises `OSError` and `imaplib.IMAP4.error`."""

    client: _Imap

    def __init__(self, server: Server, opened: Callable[[MailClient], None]) -> None:
        """`opened` gets the client before the first byte is exchanged, to break it off."""
        self._server = server
        self._socket: socket.socket | None = None
        self._broken = False
        self._idle_tag = b""
        opened(self)
        super().__init__()

    @property
    def is_broken_off(self) -> bool:
        """True once `break_off` was called."""
        return self._broken

    def break_off(self) -> None:
        """Ends the connection from another thread; whoever waits for it fails at once."""
        self._broken = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Says goodbye where the server listens, and closes the socket in any case."""
        client: _Imap | None = getattr(self, "client", None)
        if client is not None:
            if not self._broken:
                with suppress(OSError, imaplib.IMAP4.error):
                    client.sock.settimeout(2.0)
                    client.logout()
            client.shutdown()
        elif self._socket is not None:
            self._socket.close()

    def sign_in(self, username: str, *, password: str = "", access_token: str = "") -> None:
        """Says who this is. Raises `imaplib.IMAP4.error` where the server refuses.

        What it says to a refused token stands in the error (RFC 7628, 3.2.2).
        """
        client = self.client
        client.received = 0
        if access_token:
            told: list[bytes] = []

            def respond(challenge: bytes) -> bytes:
                if challenge:
                    told.append(challenge)
                    return b""
                return f"user={username}\1auth=Bearer {access_token}\1\1".encode()

            try:
                client.authenticate("XOAUTH2", respond)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                said = b" ".join(told).decode("utf-8", "replace")
                raise imaplib.IMAP4.error(f"{error} {said}") from None
        elif (username + password).isascii() and "LOGINDISABLED" not in client.capabilities:
            status, data = client._simple_command(
                "LOGIN", client._quote(username), client._quote(password)
            )
            if status != "OK":
                raise imaplib.IMAP4.error(_text(data[-1]))
            client.state = "AUTH"
        else:
            secret = f"\0{username}\0{password}".encode()
            client.authenticate("PLAIN", lambda _: secret)
        client._get_capabilities()

    def command(self, name: str, *arguments: str) -> Mapping[str, list[Any]]:
        """Sends a command; the untagged responses to it, by their kind.

        Raises `imaplib.IMAP4.error` where the server says NO or BAD.
        """
        client = self.client
        client.received = 0
        client.untagged_responses = {}
        status, data = client._simple_command(name, *arguments)
        if status != "OK":
            raise imaplib.IMAP4.error(_text(data[-1] if data else b""))
        return client.untagged_responses

    def examine(self, folder: str) -> Mapping[str, int]:
        """Opens a folder read-only; the numbers that the server tells (`UIDVALIDITY`, `EXISTS` …)."""
        self.client.is_readonly = True
        told = self.command("EXAMINE", _quoted(folder))
        self.client.state = "SELECTED"
        return {kind: int(values[-1]) for kind, values in told.items() if _is_number(values[-1])}

    def search(self, criteria: str) -> list[int]:
        """The UIDs of the messages that fit, in ascending order."""
        told = self.command("UID", "SEARCH", criteria)
        words = b" ".join(line for line in told.get("SEARCH", []) if line).split()
        return sorted({int(word) for word in words if _is_number(word)})

    def fetch_items(
        self, uids: Sequence[int], wanted: str
    ) -> dict[int, tuple[bytes, bytes | None]]:
        """What the server tells of messages: UID → the items as text, and their literal, if any."""
        told = self.command("UID", "FETCH", ",".join(map(str, uids)), wanted)
        asked, found = set(uids), {}
        pending: tuple[bytes, bytes] | None = None
        for piece in told.get("FETCH", []):
            if isinstance(piece, tuple):
                pending = piece
                continue
            # What follows a literal belongs to it; servers put the UID before or after.
            items = piece if pending is None else pending[0] + b" " + piece
            uid = _ITEM.search(items)
            if uid is not None and int(uid[1]) in asked:
                found[int(uid[1])] = items, None if pending is None else pending[1]
            pending = None
        return found

    def start_idle(self) -> None:
        """Asks the server to tell of news by itself, until `end_idle` (RFC 2177)."""
        client = self.client
        client.received = 0
        self._idle_tag = client._command("IDLE")
        while client._get_response() is not None:
            if client.tagged_commands[self._idle_tag]:
                raise imaplib.IMAP4.error("IDLE was refused")

    def end_idle(self) -> bool:
        """Ends what `start_idle` began; whether the server told of messages that came or went."""
        self.client.received = 0
        self.client.send(b"DONE\r\n")
        _, lines = self.consume_until_tagged_response(self._idle_tag)
        return any(_NEWS.fullmatch(line) for line in lines if line)

    def fileno(self) -> int:
        """What the event loop can wait for."""
        return self.client.sock.fileno()

    def _get_mailbox_client(self) -> imaplib.IMAP4:
        client = _Imap(self)
        try:
            if self._server.tls == "starttls":
                client.start_tls()
        except BaseException:
            client.shutdown()
            raise
        return client

    def connect(self) -> socket.socket:
        """A connected socket, with TLS where that comes first."""
        plain = self._reach()
        plain.settimeout(_CONNECT_TIMEOUT)
        self._hold(plain)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        ready = self.secure(plain) if self._server.tls == "implicit" else plain
        ready.settimeout(_SILENCE)
        return ready

    def secure(self, plain: socket.socket) -> ssl.SSLSocket:
        """The socket with TLS; the certificate is checked against the name, not the address."""
        secured = self._server.context.wrap_socket(plain, server_hostname=self._server.host)
        self._hold(secured)
        return secured

    def _hold(self, ready: socket.socket) -> None:
        self._socket = ready
        if self._broken:
            ready.close()
            raise OSError("broken off")

    def _reach(self) -> socket.socket:
        error: OSError = OSError("no address")
        for address in self._server.addresses:
            if self._broken:
                break
            try:
                return socket.create_connection((address, self._server.port), _CONNECT_TIMEOUT)
            except OSError as failed:
                error = failed
        raise error


class _Imap(imaplib.IMAP4):
    """The protocol, over a socket of ours and with limits on what is read."""

    def __init__(self, owner: MailClient) -> None:
        self.received = 0  # bytes since the last command
        self._owner = owner
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:  # noqa: ARG002 -- the seam's
        """Connects to where the owner says."""
        self.host = host
        self.port = port
        self.sock = self._owner.connect()
        self._stream = self.sock.makefile("rb")

    def start_tls(self) -> None:
        """Continues with TLS; what was said before is forgotten (RFC 9051, 6.2.1)."""
        if "STARTTLS" not in self.capabilities:
            raise PlatformError(
                "The mail server offers no encryption at this port.", reason="no_tls"
            )
        status, _ = self._simple_command("STARTTLS")
        if status != "OK":
            raise self.abort("STARTTLS was refused")
        # A buffered answer that came before TLS would be an attacker's (CVE-2011-0411).
        if self._has_more():
            raise self.abort("data before TLS")
        self._stream.close()
        self.sock = self._owner.secure(self.sock)
        self.sock.settimeout(_SILENCE)
        self._stream = self.sock.makefile("rb")
        self._tls_established = True
        self._get_capabilities()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        if size > MAX_LITERAL:
            raise self.abort("a literal is too large")
        pieces = []
        while size > 0:
            piece = self._stream.read(min(size, _LITERAL_PIECE))
            if not piece:
                raise self.abort("the connection ended within a literal")
            self._count(len(piece))
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readline(self) -> bytes:
        """One line."""
        line: bytes = self._stream.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise self.abort("a line is too long")
        self._count(len(line))
        return line

    def shutdown(self) -> None:
        """Closes the socket."""
        with suppress(OSError):
            self._stream.close()
        self.sock.close()

    def _has_more(self) -> bool:
        self.sock.settimeout(0)
        try:
            return bool(self._stream.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            self.sock.settimeout(_SILENCE)

    def _count(self, size: int) -> None:
        if self._owner.is_broken_off:  # what has arrived already could go on for seconds
            raise self.abort("the connection was broken off")
        self.received += size
        if self.received > MAX_REPLY:
            raise self.abort("the answer is too long")


def _quoted(folder: str) -> str:
    return encode_folder(folder).decode("ascii")


def _is_number(value: Any) -> bool:
    return isinstance(value, bytes) and value.isdigit() and len(value) <= 20


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
