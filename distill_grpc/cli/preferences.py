"""`distill preferences`: what you want of your digests, and when they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from distill_grpc.cli import zones
from distill_grpc.cli.client import Client
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, Token, Url, ask
from distill_grpc.cli.showing import console, facts, when

_PATH = "/preferences"
_READ_ONLY = ("next_digest_at", "next_weekly_at")
_NONE = "none"

_group = typer.Typer(
    name="preferences",
    help="Show and change what your digests are like.",
    no_args_is_help=True,
)

Words = Annotated[
    list[str], typer.Option("--word", metavar="WORDS", help="A word or phrase; may be repeated.")
]


def _names(what: str, flag: str) -> Any:
    return typer.Option(flag, metavar="NAME", help=f"{what}; may be repeated.")


def add_commands(app: typer.Typer) -> None:
    """Adds `preferences`."""
    app.add_typer(_group)


@_group.command("show")
def show(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Show your preferences, and when the next digests are due."""
    ask(url, token, lambda client: client.call("GET", _PATH), as_json=as_json, show=_show)


@_group.command("set")
def set_some(
    *,
    hour: Annotated[
        str | None,
        typer.Option(
            metavar="0-23|none", help="Hour at which digests are made; `none`: when asked for."
        ),
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option(help="Its time zone, such as Europe/Berlin; at first: this machine's."),
    ] = None,
    daily: Annotated[
        bool | None, typer.Option("--daily/--no-daily", help="Yesterday's digest each day.")
    ] = None,
    weekly: Annotated[
        bool | None, typer.Option("--weekly/--no-weekly", help="Last week's digest each Monday.")
    ] = None,
    mail: Annotated[
        bool | None, typer.Option("--mail/--no-mail", help="Send them by mail.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(metavar="short|medium|long", help="How much a digest says.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="CODE|none", help="Preferred among tellings of one story, such as en or de."
        ),
    ] = None,
    daily_llm_tokens: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="Tokens of a language model for one day at most."),
    ] = None,
    tags_by_model: Annotated[
        bool | None,
        typer.Option(
            "--tags-by-model/--no-tags-by-model",
            help="Let the language model choose tags from your vocabulary.",
        ),
    ] = None,
    tag: Annotated[list[str], _names("A tag that you care for", "--tag")] = [],
    no_tag: Annotated[list[str], _names("Not this tag any more", "--no-tag")] = [],
    source: Annotated[list[str], _names("A source that you care for", "--source")] = [],
    no_source: Annotated[list[str], _names("Not this source any more", "--no-source")] = [],
    author: Annotated[
        list[str], _names("An author or site (lwn.net) that you read", "--author")
    ] = [],
    no_author: Annotated[list[str], _names("Not this author any more", "--no-author")] = [],
    name: Annotated[list[str], _names("A name by which others mention you", "--name")] = [],
    no_name: Annotated[list[str], _names("Not this name any more", "--no-name")] = [],
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Change some preferences; the others stay as they are."""
    told: dict[str, Any] = {
        "digest_hour": _number("--hour", hour),
        "tz": tz,
        "daily": daily,
        "weekly": weekly,
        "mail": mail,
        "length": length,
        "language": language,
        "daily_llm_tokens": _number("--daily-llm-tokens", daily_llm_tokens),
        "tags_by_model": tags_by_model,
    }
    wanted = {name: value for name, value in told.items() if value is not None}
    lists = {
        "tags": (tag, no_tag),
        "sources": (source, no_source),
        "authors": (author, no_author),
        "names": (name, no_name),
    }
    if not wanted and not any(added or removed for added, removed in lists.values()):
        raise Failure("say what to change (see `distill preferences set --help`)", exit_code=2)

    def change(kept: dict[str, Any]) -> None:
        if "digest_hour" in wanted and "digest_hour" not in kept and kept["tz"] == "UTC":
            kept["tz"] = zones.of_this_machine()
        kept.update(wanted)
        for field in ("digest_hour", "language", "daily_llm_tokens"):
            if kept.get(field) == _NONE:
                del kept[field]
        for field, (added, removed) in lists.items():
            kept[field] = _changed(field, kept[field], added, removed)

    ask(url, token, lambda client: _change(client, change), as_json=as_json, show=_show)


@_group.command("section")
def section(
    name: Annotated[str, typer.Argument(help="The section's name, which becomes its heading.")],
    *,
    word: Words = [],
    tag: Annotated[list[str], _names("Or one of these tags", "--tag")] = [],
    source: Annotated[list[str], _names("Only from this source", "--source")] = [],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the section.")] = False,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Add a section of your own to the digests, replace it, or remove it."""
    if remove == bool(word or tag or source):
        raise Failure("a section has --word, --tag or --source; or --remove ends it", exit_code=2)

    def change(kept: dict[str, Any]) -> None:
        others = [one for one in kept["sections"] if one["name"].casefold() != name.casefold()]
        if remove and len(others) == len(kept["sections"]):
            raise Failure(f"there is no section {name!r} (`distill preferences show` lists them)")
        made = {"name": name, "words": word, "tags": tag, "sources": source}
        kept["sections"] = others if remove else [*others, made]

    ask(url, token, lambda client: _change(client, change), as_json=as_json, show=_show)


@_group.command("reset")
def reset(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Give every preference its default again; no digest is due then."""
    ask(
        url,
        token,
        lambda client: client.call("PUT", _PATH, body={}),
        as_json=as_json,
        show=_show,
    )


async def _change(client: Client, change: Any) -> Any:
    """Reads the preferences, changes a copy and puts it back, as the service replaces them whole."""
    kept = await client.call("GET", _PATH)
    changed = {name: value for name, value in kept.items() if name not in _READ_ONLY}
    change(changed)
    return await client.call("PUT", _PATH, body=changed)


def _changed(field: str, kept: list[str], added: list[str], removed: list[str]) -> list[str]:
    for name in removed:
        if name not in kept:
            raise Failure(f"{name!r} is not among your {field}")
    return list(dict.fromkeys([*(name for name in kept if name not in removed), *added]))


def _number(flag: str, value: str | None) -> int | str | None:
    if value is None or value == _NONE:
        return value
    try:
        return int(value)
    except ValueError:
        raise Failure(
            f"{flag} is a whole number or `{_NONE}` (it is {value!r})", exit_code=2
        ) from None


def _show(told: Any) -> None:
    hour = told.get("digest_hour")
    kinds = [kind for kind in ("daily", "weekly") if told[kind]]
    due = {"daily": told.get("next_digest_at"), "weekly": told.get("next_weekly_at")}
    nexts = [f"{kind} {when(due[kind])}" for kind in kinds if due[kind]]
    made = f"at {hour}:00, {told['tz']}" if hour is not None else "only when asked for"
    pairs = [
        ("digests", f"{_listed(kinds) or 'none'}, {made}" if hour is not None else made),
        ("next", _listed(nexts)),
        ("mail", "yes" if told["mail"] else "no"),
        ("length", told["length"]),
        ("language", told.get("language")),
        ("tags", _listed(told["tags"])),
        ("sources", _listed(told["sources"])),
        ("authors", _listed(told["authors"])),
        ("names", _listed(told["names"])),
        ("tags by model", "yes" if told["tags_by_model"] else "no"),
        ("tokens a day", told.get("daily_llm_tokens")),
        *((f"section {one['name']}", _section(one)) for one in told["sections"]),
    ]
    console().print(facts(pairs))


def _section(told: Any) -> str:
    parts = [
        f"{what} {_listed(told[field])}"
        for what, field in (("words", "words"), ("tags", "tags"), ("only from", "sources"))
        if told[field]
    ]
    return "; ".join(parts)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values)
