from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from distill_grpc.sources.email import EmailSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers import dovecot as dovecots
from tests.servers.dovecot import Dovecot
from tests.servers.imap import ScriptedImap
from tests.unit.sources_mail.mail_reading import Mailbox, Reader

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    with dovecots.running() as server:
        yield server


@pytest.fixture(scope="session")
async def source() -> AsyncIterator[EmailSource]:
    async with HttpClient(allow_private_addresses=True) as http:
        ready = EmailSource(SourceContext(http=http), command_seconds=5.0)
        yield ready
        await ready.close()


@pytest.fixture
def mailbox(dovecot: Dovecot, source: EmailSource) -> Mailbox:
    """A mailbox of the real server that is empty."""
    return Mailbox(dovecot, f"user{next(_NUMBERS)}", source)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedImap]:
    async with ScriptedImap() as server:
        yield server


@pytest.fixture
def reader(scripted: ScriptedImap, source: EmailSource) -> Reader:
    """Reads the scripted server."""
    credentials = {"host": "127.0.0.1", "port": scripted.port, "username": "u", "password": "p"}
    return Reader(source, credentials, {"tls": "none"})
