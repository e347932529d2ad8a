"""What YouTube says about itself, the rules for its accounts, and how channels are named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from distill_grpc.sources import text
from distill_grpc.sources.base import InvalidConnection, Json, SourceInfo
from distill_grpc.sources.youtube_api import SCOPE

MAX_CHANNELS = 500
MAX_SUBSCRIPTIONS = 2_000
SUBSCRIPTIONS = "subscriptions"  # the part that holds the list of them

_ID = re.compile(r"UC[A-Za-z0-9_-]{22}")
_HANDLE = re.compile(r"@[^\s/?#@&%]{3,60}")
_USER = re.compile(r"[A-Za-z0-9]{1,60}")
_HOSTS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com"})
_SECRET = re.compile(r"[!-~]{1,4096}")

INFO = SourceInfo(
    name="youtube",
    title="YouTube",
    description="New videos of the channels that the user names, or is subscribed to.",
    oauth_scopes=(SCOPE,),
    token_type="OAuth2",  # noqa: S106 -- a kind of credential, not a secret
    refresh_supported=True,
    credentials={
        "api_key": "A key of the YouTube Data API; it reads named channels only",
        "access_token": "An OAuth 2.0 token, which knows the subscriptions as well",
        "refresh_token": "Renews the access token, which lives for an hour",
    },
    settings={
        "channels": f"Channels to read, at most {MAX_CHANNELS}: ids (UC…), handles (@name) or addresses "
        "of channels",
        "subscriptions": "Whether the user's subscriptions are read, which takes an access token; true "
        f"where no channels are named. At most {MAX_SUBSCRIPTIONS}, the rest is left out",
        "shorts": "Whether Shorts and streams are read too, or long videos only; true where not given",
        "feeds": "Whether the channels' free feeds are asked whether something is new, so that units "
        "are spent on new videos only; true where not given",
    },
    limits=(
        "10,000 units a day and project; a request costs 1 unit and brings up to 50 entries",
        "A user spends at most a tenth of what is left of a project that users share",
        "The day of the quota begins at midnight Pacific time; once it is spent, nothing is asked",
        "search, of which a project has 100 a day, is never used",
    ),
)


@dataclass(frozen=True, slots=True)
class Channel:
    """How a channel is asked for: the parameter of `channels.list`, and its value."""

    parameter: str  # `id`, `forHandle` or `forUsername`
    value: str


def channel(named: str) -> Channel | None:
    """The channel that a person wrote down; None where it is none that can be looked up cheaply."""
    if _ID.fullmatch(named):
        return Channel("id", named)
    if _HANDLE.fullmatch(named):
        return Channel("forHandle", named)
    if not text.is_web_url(named):
        return None
    parts = urlsplit(named)
    return _of_path(parts.path) if parts.hostname in _HOSTS else None


def _of_path(written: str) -> Channel | None:
    """The channel that the path of an address names."""
    path = [unquote(piece) for piece in written.split("/") if piece]
    if path and _HANDLE.fullmatch(path[0]):
        return Channel("forHandle", path[0])
    if len(path) > 1 and path[0] == "channel" and _ID.fullmatch(path[1]):
        return Channel("id", path[1])
    if len(path) > 1 and path[0] == "user" and _USER.fullmatch(path[1]):
        return Channel("forUsername", path[1])
    return None


def check(credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
    """Raises `InvalidConnection` naming every wrong credential and setting."""
    details = {f"credentials.{n}": "is not known" for n in credentials if n not in INFO.credentials}
    details |= {f"settings.{n}": "is not known" for n in settings if n not in INFO.settings}
    for name in INFO.credentials:
        value = credentials.get(name)
        if value is not None and not (isinstance(value, str) and _SECRET.fullmatch(value)):
            details[f"credentials.{name}"] = "must be printable characters without spaces"
    for name in ("subscriptions", "shorts", "feeds"):
        if settings.get(name) is not None and not isinstance(settings[name], bool):
            details[f"settings.{name}"] = "must be true or false"
    details |= check_channels(settings.get("channels"))
    if not details:
        details = _check_together(credentials, settings)
    if details:
        raise InvalidConnection(details)


def follows_subscriptions(settings: Mapping[str, Json]) -> bool:
    """Whether the user's subscriptions are read."""
    told = settings.get("subscriptions")
    return not settings.get("channels") if told is None else bool(told)


def check_channels(named: Json) -> dict[str, str]:
    """What is wrong with a list of channels: field → rule."""
    if named is None:
        return {}
    if not isinstance(named, list):
        return {"settings.channels": "must be a list of channels"}
    if len(named) > MAX_CHANNELS:
        return {"settings.channels": f"must have at most {MAX_CHANNELS} channels"}
    details: dict[str, str] = {}
    places: dict[Channel, int] = {}
    for place, written in enumerate(named):
        found = channel(written) if isinstance(written, str) else None
        if found is None:
            details[f"settings.channels[{place}]"] = (
                "must be a channel's id (UC and 22 characters), its @handle, or its address with "
                "one of these; an address with /c/ cannot be looked up"
            )
        elif places.setdefault(found, place) != place:
            details[f"settings.channels[{place}]"] = f"repeats settings.channels[{places[found]}]"
    return details


def _check_together(
    credentials: Mapping[str, Json], settings: Mapping[str, Json]
) -> dict[str, str]:
    if not credentials.get("api_key") and not credentials.get("access_token"):
        return {"credentials.api_key": "must be given, or credentials.access_token"}
    if follows_subscriptions(settings) and not credentials.get("access_token"):
        if settings.get("subscriptions"):
            return {"settings.subscriptions": "needs credentials.access_token"}
        return {"settings.channels": "must name a channel, as an API key knows no subscriptions"}
    if not follows_subscriptions(settings) and not settings.get("channels"):
        return {"settings.channels": "must name a channel, as subscriptions are not read"}
    return {}
