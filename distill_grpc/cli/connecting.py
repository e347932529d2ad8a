"""`distill connect`, `connections` and `disconnect`: for any source that the service knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from distill_grpc.cli import credentials
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.known_sources import known, reading
from distill_grpc.cli.next_steps import next_steps
from distill_grpc.cli.options import Json, Token, Url, ask
from distill_grpc.cli.showing import console, count, facts, hints, plain, rows, state, when
from distill_grpc.cli.source_options import named_options, sort_options

if TYPE_CHECKING:
    from distill_grpc.cli.client import Client

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name, such as `rss`.")]


# Options that only the source knows are left for `named_options`.
_OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
# `--token` is a credential here.
OwnToken = Annotated[
    str | None,
    typer.Option(
        "--distill-token",
        envvar="DISTILL_TOKEN",
        show_envvar=True,
        help="Your token for Distill; default: one made with the keys in the data directory.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("connect", context_settings=_OWN_OPTIONS)(connect)
    app.command("connections")(connections)
    app.command("disconnect")(disconnect)


def connect(
    context: typer.Context,
    source: Source,
    *,
    feed: Annotated[
        list[str], typer.Option(metavar="URL", help="`rss`: a feed's address; may be repeated.")
    ] = [],
    setting: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="A setting of the source; may be repeated."),
    ] = [],
    credential: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="A credential of the source; its value is read from the environment variable "
            "DISTILL_CREDENTIAL_<NAME>, or asked for. May be repeated.",
        ),
    ] = [],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Forget the feeds and settings there were, instead of adding to them."
        ),
    ] = False,
    as_json: Json = False,
    url: Url = None,
    token: OwnToken = None,
) -> None:
    """Connect an account, add feeds to it, or change its settings.

    Each credential and setting of the source is an option too: `connect github --token -` reads the
    token from stdin, `connect youtube --channel ID` adds to its channels. `/capabilities` lists them.
    Options that name lists may be repeated. They add to what is read already, and where nothing was
    chosen yet, to what is read then (INBOX; home and mentions); `--replace` begins from nothing.
    Credentials take the place of all that were given before. In a terminal, those that an account
    lacks are asked for.
    """
    given = {name: _as_list(source, name, value) for name, value in map(_pair, setting)}
    extra = named_options(context.args)
    secrets = {name: credentials.named(name) for name in credential}

    async def work(client: Client) -> Any:
        body: dict[str, Any] = {}
        lists = {"feeds": feed} if feed else {}
        if extra:
            told = sort_options(extra, await _described(client, source))
            secrets.update({name: credentials.given(name, value) for name, value in told.secrets})
            given.update(told.settings)
            lists |= told.lists
        if replace and not (given or lists):
            raise Failure("--replace needs a --feed or a --setting to put in place", exit_code=2)
        asks = not secrets and sys.stdin.isatty()
        there = None
        if asks or ((given or lists) and not replace):
            there = await _connection(client, source)
        before = dict((there or {}).get("settings") or {})
        if given or lists:
            usual = {} if replace else known(source).defaults
            body["settings"] = _changed(given if replace else before | given, lists, usual)
            if there is not None and not replace and "api_key" not in secrets:
                _keep_subscriptions(source, before, body["settings"])
        if asks:
            described = await _described(client, source)
            if credentials.are_wanted(described, there, body.get("settings", before)):
                secrets.update(credentials.asked_for(described))
        if secrets:
            body["credentials"] = secrets
        return await client.call("PUT", _path(source), body=body)

    ask(url, token, work, as_json=as_json, show=_show_changed)


def connections(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """List what is connected, and how it does."""
    ask(
        url,
        token,
        lambda client: client.call("GET", "/connections"),
        as_json=as_json,
        show=lambda answer: _show(answer.get("connections", [])),
    )


def disconnect(
    source: Source,
    *,
    feed: Annotated[
        list[str],
        typer.Option(metavar="URL", help="`rss`: only this feed's address; may be repeated."),
    ] = [],
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Disconnect an account, or take feeds out of it.

    The account's credentials are deleted at once. Taking out the last feed disconnects the account.
    """

    async def work(client: Client) -> Any:
        if feed:
            settings = dict((await _connection(client, source) or {}).get("settings") or {})
            feeds = _list(settings, "feeds")
            if unknown := [address for address in feed if address not in feeds]:
                raise Failure(
                    f"{unknown[0]} is not connected; `distill connections` shows the addresses"
                )
            if left := [address for address in feeds if address not in feed]:
                body = {"settings": settings | {"feeds": left}}
                return await client.call("PUT", _path(source), body=body)
        return await client.call("DELETE", _path(source))

    def show(answer: Any) -> None:
        if answer.get("status"):
            console().print(facts([(answer["source"], answer["status"])]))
        else:
            _show_changed(answer)

    ask(url, token, work, as_json=as_json, show=show)


async def _connection(client: Client, source: str) -> dict[str, Any] | None:
    """A connection; None where there is none yet."""
    from distill_grpc.cli.client import ApiError

    try:
        return dict(await client.call("GET", _path(source)))
    except ApiError as error:
        if error.code == "not_found":
            return None
        raise


def _changed(
    settings: Mapping[str, Any],
    lists: Mapping[str, Sequence[str]],
    usual: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Settings with more in some lists; one that was never given begins from what is usual."""
    added = {}
    for name, more in lists.items():
        there = settings.get(name)
        first = there if isinstance(there, list) else usual.get(name, ())
        added[name] = list(dict.fromkeys([*first, *more]))
    return {**settings, **added}


def _keep_subscriptions(source: str, before: dict[str, Any], settings: dict[str, Any]) -> None:
    """YouTube reads subscriptions as long as nothing is named: naming a channel must not end that."""
    if source == "youtube" and "channels" in settings and "channels" not in before:
        settings.setdefault("subscriptions", True)


async def _described(client: Client, source: str) -> dict[str, Any]:
    """What the service says about a source."""
    sources = (await client.call("GET", "/capabilities")).get("sources", [])
    for described in sources:
        if described.get("name") == source:
            return dict(described)
    known = ", ".join(str(described.get("name")) for described in sources)
    raise Failure(f"there is no source {source!r}; there is {known}", exit_code=2)


def _list(settings: dict[str, Any], name: str) -> list[str]:
    found = settings.get(name)
    return found if isinstance(found, list) else []


def _path(source: str) -> str:
    return f"/connections/{quote(source, safe='')}"


def _pair(text: str) -> tuple[str, Any]:
    """`name=value`; a value that is JSON is taken as such, so that lists and numbers can be given."""
    name, found, value = text.partition("=")
    if not found or not name:
        raise Failure(f"--setting takes NAME=VALUE (it is {text!r})", exit_code=2)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _as_list(source: str, name: str, value: Any) -> Any:
    """One entry of a setting that is a list stands for a list of it."""
    return [value] if name in known(source).lists and not isinstance(value, list) else value


def _show_changed(connection: Any) -> None:
    _show([connection])
    if feeds := _list(connection.get("settings") or {}, "feeds"):
        console().print(plain(f"now reading {count(len(feeds), 'feed')}"))
    for line in reading(connection["source"], connection.get("settings") or {}):
        console().print(plain(line), soft_wrap=True)


def _show(found: list[Any]) -> None:
    out = console()
    if not found:
        out.print("Nothing is connected; `distill connect rss --feed URL` connects a feed.")
        return
    table = rows("source", "part", "state", "last read", "")
    for connection in found:
        table.add_row(
            plain(connection["source"], style="bold"),
            plain(connection.get("account", "")),
            state(connection["state"]),
            when(connection.get("last_success")),
            plain(connection.get("message", "")),
        )
        for part in connection.get("parts", []):
            table.add_row(
                "",
                _named(part),
                state(part["state"]),
                when(part.get("last_success")),
                plain(part.get("message", "")),
            )
    out.print(table)
    for connection in found:
        if webhook := connection.get("webhook"):
            out.print(
                plain(f"{connection['source']} pushes to ({webhook['state']}): {webhook['url']}"),
                soft_wrap=True,
            )
    hints(out, (entry for one in found for entry in (one, *one.get("parts", []))))
    for connection in found:
        for step in next_steps(connection):
            out.print(plain(f"{connection['source']}: {step}", style="dim"))


def _named(part: Any) -> Text:
    """A part's title, and below it the name by which it was connected."""
    title, name = part.get("title"), part["name"]
    return Text("\n").join([plain(title), plain(name, style="dim")]) if title else plain(name)
