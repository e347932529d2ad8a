"""E-mail by IMAP: new messages of the folders that a user names, read without marking them as seen.

A part is a folder. No scopes; the credentials are a password, or an access token (XOAUTH2) for
providers that want one. The server is one that a user wrote down: its address is checked like that of a
feed, its certificate against its name, and its messages are parsed in the sandbox.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from distill_grpc import clock
from distill_grpc.sources import mail_state, oauth, text
from distill_grpc.sources.addresses import PRIVATE
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Json,
    Page,
    PlatformError,
    SourceFailure,
    SourceInfo,
)
from distill_grpc.sources.mail_folder import FolderRead
from distill_grpc.sources.mail_session import COMMAND_SECONDS, PORTS, Postman, Session
from distill_grpc.sources.mail_state import FolderState
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.sandbox import Sandbox

MAX_FOLDERS = 50
DEFAULT_FOLDERS = ("INBOX",)

_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MAX_SECRET = 4_096  # characters
_MAX_NAME = 255
_IDLE_SECONDS = 9 * 60.0  # routers forget connections that are silent for longer

INFO = SourceInfo(
    name="email",
    title="E-mail",
    description="New messages of the chosen folders, read without marking them as seen.",
    token_type="password",  # noqa: S106 -- a kind of credential, not a secret
    refresh_supported=True,
    credentials={
        "host": "The IMAP server's name or address",
        "port": "Its port; 993, or 143 with starttls, where none is given",
        "username": "The account's name, mostly the address",
        "password": "The account's password, or one made for this application",
        "access_token": "An OAuth 2.0 token in the password's stead (XOAUTH2)",
        "refresh_token": "Renews the access token",
        "client_id": "The application's id, for renewal",
        "client_secret": "The application's secret, for renewal, where it has one",
        "token_url": "Where the access token is renewed",
    },
    settings={
        "folders": f"Folders to read, 1 to {MAX_FOLDERS}; INBOX where none is named",
        "tls": (
            "How the connection is secured: `implicit` (the default), `starttls`, or `none`, which "
            "only servers of the own network may have"
        ),
        "idle": (
            "true: the server tells of new messages in the first folder at once (IMAP's IDLE), over a "
            "second connection that stays open"
        ),
    },
    limits=(
        "One connection an account at a time, and one more with `idle`",
        "At most 25 MB a message, 100 parts, 20 levels",
        "A server that asks to wait is left alone for 15 minutes",
    ),
)


class EmailSource:
    """Reads mailboxes; `command_seconds` and `parser_seconds` bound a command and a message."""

    def __init__(
        self,
        context: SourceContext,
        *,
        command_seconds: float = COMMAND_SECONDS,
        parser_seconds: float = 10.0,
    ) -> None:
        self.info = dataclasses.replace(INFO, oauth=oauth.named_by_credentials())
        self._http = context.http
        self._postman = Postman(context.http, command_seconds=command_seconds)
        self._parser = Sandbox("distill_grpc.sources.mail_messages:read", seconds=parser_seconds)

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` for names that are not known and values that cannot be."""
        details = {
            f"credentials.{n}": "is not known" for n in credentials.keys() - INFO.credentials
        }
        details |= {f"settings.{name}": "is not known" for name in settings.keys() - INFO.settings}
        details |= _credentials_broken(credentials)
        host, url = credentials.get("host"), credentials.get("token_url")
        if isinstance(host, str) and self._http.refuses(host):
            details.setdefault("credentials.host", PRIVATE)
        if isinstance(url, str) and self._http.refuses_url(url):
            details.setdefault("credentials.token_url", PRIVATE)
        details |= _folders_broken(settings.get("folders"))
        if settings.get("tls", "implicit") not in tuple(PORTS):
            details["settings.tls"] = "must be `implicit`, `starttls` or `none`"
        if not isinstance(settings.get("idle", False), bool):
            details["settings.idle"] = "must be true or false"
        if details:
            raise InvalidConnection(details)

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Signs in and opens every folder. Raises `InvalidConnection` for one that is not there."""
        details: dict[str, str] = {}
        async with self._postman.session(credentials, settings, clock.utc_now()) as session:
            for place, folder in enumerate(self.parts(settings)):
                try:
                    await _examine(session, folder)
                except SourceFailure as failure:
                    if failure.reason not in {"gone", "no_right", "refused"}:
                        raise
                    details[f"settings.folders[{place}]"] = "is no folder that can be read"
        if details:
            raise InvalidConnection(details)
        name = str(credentials["username"])
        return Account(name=name, id=f"{name}@{credentials['host']}".lower())

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The folders."""
        return tuple(settings.get("folders") or DEFAULT_FOLDERS)

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads one folder after the other over one connection.

        A folder that fails lets the others go on, over a new connection where that one has ended.
        """
        parts = self.parts(request.settings)
        waiting = [part for part in parts if part not in request.skip]
        owner = mail_state.owner_of(request.credentials)
        states = {part: FolderState.of(owner, request.cursors.get(part)) for part in parts}
        held = {part: state.identities() for part, state in states.items()}
        given: set[str] = set()
        farewells: list[Page] = []
        while waiting:
            async with self._postman.session(
                request.credentials, request.settings, request.now
            ) as session:
                while waiting and not session.broken:
                    part = waiting.pop(0)
                    elsewhere = given.union(*(held[other] for other in parts if other != part))
                    read = FolderRead(
                        session=session,
                        parser=self._parser,
                        folder=part,
                        state=states[part],
                        since=request.since.get(part, request.default_since),
                        now=request.now,
                        elsewhere=elsewhere,
                    )
                    try:
                        async for page in read.pages():
                            if page.deleted:
                                farewells.append(page)
                            else:
                                yield page
                    except SourceFailure as failure:
                        yield Page(part=part, failure=failure)
                    held[part] = frozenset(read.state.known.values())
                    given |= held[part]
        # Only now it is known what has moved to another folder.
        for page in farewells:
            gone = [id_ for id_ in page.deleted if id_ not in given]
            yield dataclasses.replace(page, deleted=gone)

    async def hints(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> AsyncGenerator[str, None]:
        """Names the first folder whenever the server tells that messages came or went (IDLE).

        Only a hint: what it means, `fetch` finds out. Does not end by itself. Raises a
        `SourceFailure`, with the reason `no_hints` where the server tells nothing by itself.
        """
        folder = self.parts(settings)[0]
        async with self._postman.session(
            credentials, settings, clock.utc_now(), waiting=True
        ) as session:
            if not await session.call(lambda client: "IDLE" in client.client.capabilities):
                raise PlatformError(
                    "The mail server tells of nothing by itself.", reason="no_hints"
                )
            await _examine(session, folder)
            while True:
                if await session.until_told(_IDLE_SECONDS):
                    yield folder

    async def close(self) -> None:
        """Ends the parsers and lets the threads go."""
        self._postman.close()
        await self._parser.close()


async def _examine(session: Session, folder: str) -> None:
    await session.call(lambda client: client.examine(folder))


def _credentials_broken(credentials: Mapping[str, Json]) -> dict[str, str]:
    """What is wrong with the credentials: field → rule."""
    details: dict[str, str] = {}
    host = credentials.get("host")
    if not isinstance(host, str) or not _HOST.fullmatch(host):
        details["credentials.host"] = "must be the name or the address of a mail server"
    port = credentials.get("port")
    # A number, or its text: credentials that are typed in are texts.
    digits = str(port) if isinstance(port, int | str) and not isinstance(port, bool) else ""
    if port is not None and not (_PORT.fullmatch(digits) and int(digits) < 65_536):
        details["credentials.port"] = "must be a whole number from 1 to 65535"
    secrets = (
        "password",
        "access_token",
        "refresh_token",
        "client_id",
        "client_secret",
        "token_url",
    )
    for name in ("username", *secrets):
        value = credentials.get(name)
        limit = _MAX_NAME if name == "username" else _MAX_SECRET
        if value is None and name != "username":
            continue
        if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
            details[f"credentials.{name}"] = f"must be 1 to {limit} printable characters"
    url = credentials.get("token_url")
    if url is not None and not (isinstance(url, str) and text.is_web_url(url)):
        details["credentials.token_url"] = "must be an http or https address"
    named = [name for name in ("password", "access_token") if credentials.get(name) is not None]
    if not named:
        rule = "must be given, or credentials.access_token in its stead"
        details.setdefault("credentials.password", rule)
    elif len(named) > 1:
        rule = "must not be given beside credentials.access_token: one of them only"
        details.setdefault("credentials.password", rule)
    return details


def _folders_broken(folders: Json) -> dict[str, str]:
    """What is wrong with a list of folders: field → rule."""
    field = "settings.folders"
    if folders is None:
        return {}
    if not isinstance(folders, list) or not 0 < len(folders) <= MAX_FOLDERS:
        return {field: f"must be a list of 1 to {MAX_FOLDERS} folders"}
    details: dict[str, str] = {}
    places: dict[str, int] = {}
    for place, name in enumerate(folders):
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            details[f"{field}[{place}]"] = f"must be 1 to {_MAX_NAME} printable characters"
        elif (first := places.setdefault(_same(name), place)) != place:
            details[f"{field}[{place}]"] = f"repeats {field}[{first}]"
    return details


def _same(folder: str) -> str:
    """The folder's name, the same for all spellings of INBOX, the only one without case (RFC 9051)."""
    return "INBOX" if folder.upper() == "INBOX" else folder
