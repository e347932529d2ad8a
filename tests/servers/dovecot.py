"""A real Dovecot on the loopback interface, with certificates of a test's own authority.

Every user name has a mailbox and the password `PASSWORD`; a test takes a name of its own. Names that
begin with `own-` have the passwords that a test gives them. Messages are brought by APPEND, so that
Dovecot numbers them as it numbers everybody's.
"""

from __future__ import annotations

import imaplib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.optional import program
from tests.servers.ports import held_ports

PASSWORD = "test"
AT_ONCE = 10  # connections that a user may have
NAME = "mail.example"  # the name in the certificate, beside 127.0.0.1


@dataclass(frozen=True)
class Dovecot:
    """A running server."""

    root: Path
    port: int  # IMAP, with STARTTLS
    tls_port: int
    authority: Path  # the certificate to trust

    def trusting(self) -> ssl.SSLContext:
        """A context that trusts the server's authority only."""
        return ssl.create_default_context(cafile=str(self.authority))

    def set_password(self, user: str, password: str) -> None:
        """Gives a user whose name begins with `own-` another password."""
        path = self.root / "passwords"
        others = [line for line in path.read_text().splitlines() if line.split(":")[0] != user]
        fresh = path.with_suffix(".new")
        fresh.write_text("\n".join([*others, f"{user}:{{PLAIN}}{password}", ""]))
        fresh.chmod(0o644)
        fresh.rename(path)
        time.sleep(1.1)  # Dovecot looks at the file once a second

    def sign_ins(self, user: str) -> int:
        """How often somebody tried to sign in as the user, by Dovecot's own log."""
        log = (self.root / "log" / "dovecot.log").read_text()
        return sum("imap-login" in line and f"user=<{user}>" in line for line in log.splitlines())

    def deliver(
        self, user: str, message: bytes, *, folder: str = "INBOX", at: datetime | None = None
    ) -> None:
        """Brings a message into a folder, which is made where it is missing."""
        with self.mailbox(user) as client:
            if folder != "INBOX":
                client.create(folder)
            stamp = imaplib.Time2Internaldate(at or datetime.now(UTC))
            status, answer = client.append(folder, "", stamp, message)
            assert status == "OK", answer

    def remove(self, user: str, *uids: int, folder: str = "INBOX") -> None:
        """Deletes messages for good."""
        with self.mailbox(user) as client:
            client.select(folder)
            client.uid("STORE", ",".join(map(str, uids)), "+FLAGS", r"(\Deleted)")
            client.expunge()

    def flags(self, user: str, folder: str = "INBOX") -> list[bytes]:
        """What Dovecot says of each message's flags."""
        with self.mailbox(user) as client:
            client.select(folder, readonly=True)
            return [line for line in client.uid("FETCH", "1:*", "(FLAGS)")[1] if line]

    def renumber(self, user: str) -> None:
        """Forgets the numbers of a user's messages: UIDVALIDITY changes, the messages stay."""
        time.sleep(1.1)  # the new number is the present second
        for path in (self.root / "mail" / user).rglob("dovecot*"):
            path.unlink()

    def _password(self, user: str) -> str:
        lines = (self.root / "passwords").read_text().splitlines()
        known = dict(line.split(":{PLAIN}") for line in lines)
        return known.get(user, PASSWORD)

    @contextmanager
    def mailbox(self, user: str) -> Iterator[imaplib.IMAP4]:
        """A connection of the user's own program."""
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=10)
        try:
            client.login(user, self._password(user))
            yield client
        finally:
            with suppress(imaplib.IMAP4.error):
                client.logout()
            with suppress(OSError):  # it was hung up already
                client.shutdown()


@contextmanager
def running() -> Iterator[Dovecot]:
    """Dovecot in a folder of its own; skips or fails where it is not installed."""
    binary = program("dovecot", of="dovecot")
    # Short, because sockets lie in it, and not below a folder that only we may enter.
    with (
        tempfile.TemporaryDirectory(prefix="dovecot-") as folder,
        held_ports(2) as (port, tls_port),
    ):
        yield from _running(Path(folder), binary, port, tls_port)


def _running(root: Path, binary: str, port: int, tls_port: int) -> Iterator[Dovecot]:
    for name in ("run", "state", "mail", "log"):
        (root / name).mkdir(parents=True)
    _certificates(root)
    (root / "passwords").touch()
    config = root / "dovecot.conf"
    config.write_text(_config(root, port, tls_port))
    if os.geteuid() == 0:
        shutil.chown(root / "mail", "nobody", "nogroup")
        root.chmod(0o755)  # Dovecot's processes are nobody's
    subprocess.run([binary, "-c", config], check=True, timeout=20)
    pid = _pid(root / "run" / "master.pid")
    try:
        _wait_for(port, root / "log" / "dovecot.log")
        yield Dovecot(root, port, tls_port, root / "authority.pem")
    finally:
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)


def _config(root: Path, port: int, tls_port: int) -> str:
    mine = os.geteuid()
    uid, gid = ("nobody", "nogroup") if mine == 0 else (str(mine), str(os.getegid()))
    internal = "" if mine == 0 else f"default_internal_user = {mine}\ndefault_login_user = {mine}\n"
    internal = internal or (
        "default_internal_user = nobody\ndefault_login_user = nobody\n"
        "default_internal_group = nogroup\n"
    )
    return f"""\
base_dir = {root}/run
state_dir = {root}/state
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/server.pem
ssl_key = <{root}/server.key
disable_plaintext_auth = no
log_path = {root}/log/dovecot.log
mail_location = maildir:{root}/mail/%u
first_valid_uid = 0
auth_failure_delay = 0
auth_mechanisms = plain login xoauth2
mail_max_userip_connections = {AT_ONCE}
{internal}passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/passwords
  username_filter = own-*
}}
passdb {{
  driver = static
  username_filter = !own-*
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


def _certificates(root: Path) -> None:
    """An authority and a certificate of it for `NAME` and 127.0.0.1."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("tests", NAME)]
    builders = [
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(names[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        for name, key in zip(names, keys, strict=True)
    ]
    identifier = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        builders[0]
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(keys[0], hashes.SHA256())
    )
    alternatives = [x509.DNSName(NAME), x509.IPAddress(ip_address("127.0.0.1"))]
    server = (
        builders[1]
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(keys[0], hashes.SHA256())
    )
    (root / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (root / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (root / "server.key").write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _pid(path: Path) -> int:
    """The server's process, which goes on by itself, perhaps before it has said so."""
    for _ in range(200):
        with suppress(OSError, ValueError):
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"Dovecot did not write {path}")


def _wait_for(port: int, log: Path) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as ready:
            if ready.recv(4) == b"* OK":
                return
        time.sleep(0.05)
    raise AssertionError(f"Dovecot does not answer: {log.read_text() if log.exists() else ''}")


def _wait_for_end(pid: int) -> None:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
