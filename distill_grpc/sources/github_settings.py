"""What GitHub says about itself, and the rules for credentials and settings of its accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from distill_grpc.sources import github_activity, github_inbox
from distill_grpc.sources.base import InvalidConnection, Json, SourceInfo
from distill_grpc.sources.github_releases import LISTS, PREFIX, REPOSITORY

MAX_REPOSITORIES = 300

_FIXED = (github_inbox.PART, github_activity.PART)
_CHOICES = (*_FIXED, *LISTS)
_TOKEN = re.compile(r"[!-~]{1,500}")
# Scopes that contain another one (GitHub's documentation of scopes, and `X-Accepted-OAuth-Scopes`).
_CONTAINED_IN = {"notifications": {"notifications", "repo"}, "read:user": {"read:user", "user"}}

INFO = SourceInfo(
    name="github",
    title="GitHub",
    description="Notifications, what the people and repositories do that the user follows, and releases "
    "of named, watched or starred repositories.",
    oauth_scopes=("notifications", "read:user"),
    token_type="OAuth2",  # noqa: S106 -- a kind of credential, not a secret
    refresh_supported=True,
    credentials={
        "token": "A classic personal access token or an OAuth token. Fine-grained tokens cannot read "
        "notifications; private repositories need the scope repo as well",
        "webhook_secret": "What the webhooks of repositories are signed with, where they push here",
    },
    settings={
        "include": f"What is read besides the named repositories: a list of {', '.join(_CHOICES)} "
        f"(the last two: releases of those repositories); {' and '.join(_FIXED)} where not given",
        "repositories": "Repositories whose releases are read, each as OWNER/NAME; with the watched and "
        f"starred ones at most {MAX_REPOSITORIES}, the rest is left out",
    },
    limits=(
        "5,000 requests an hour and user over all tokens, of which Distill takes at most 1,000",
        "Secondary limits: one request at a time, slower after each refusal, Retry-After obeyed",
        "X-Poll-Interval between two reads of notifications or events, normally 60 seconds",
        "Events: the newest 300 of the last 30 days, up to 6 hours late",
    ),
)


def check(credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
    """Raises `InvalidConnection` naming every wrong credential and setting."""
    details = {f"credentials.{n}": "is not known" for n in credentials.keys() - INFO.credentials}
    details |= {
        f"settings.{n}": "is not known" for n in settings if n not in {"include", "repositories"}
    }
    token = credentials.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        details["credentials.token"] = (
            "must be a token of 1 to 500 printable characters without spaces"
        )
    secret = credentials.get("webhook_secret")
    if secret is not None and (not isinstance(secret, str) or not 0 < len(secret) <= 500):
        details |= {"credentials.webhook_secret": "must be a text of 1 to 500 characters"}
    details |= _check_include(settings.get("include"))
    details |= _check_repositories(settings.get("repositories"))
    if not details:
        if not included(settings) and not settings.get("repositories"):
            details["settings.repositories"] = "must name a repository, as include is empty"
        elif str(token).startswith("github_pat_") and github_inbox.PART in included(settings):
            details["credentials.token"] = (
                "is a fine-grained token, which GitHub does not let read notifications; "
                "use a classic one, or leave notifications out of settings.include"
            )
    if details:
        raise InvalidConnection(details)


def included(settings: Mapping[str, Json]) -> tuple[str, ...]:
    """What the settings include."""
    chosen = settings.get("include")
    return _FIXED if chosen is None else tuple(chosen)


def parts(settings: Mapping[str, Json]) -> tuple[str, ...]:
    """The parts that these settings name, without those that lists will bring."""
    named = [f"{PREFIX}{name}" for name in settings.get("repositories") or ()]
    return (*(c for c in included(settings)), *named)


def missing(granted: frozenset[str], settings: Mapping[str, Json]) -> tuple[str, ...]:
    """Scopes that these settings need and the token does not have."""
    needed = {
        scope
        for scope, part in zip(INFO.oauth_scopes, _FIXED, strict=True)
        if part in included(settings)
    }
    return tuple(s for s in INFO.oauth_scopes if s in needed and not _CONTAINED_IN[s] & granted)


def _check_include(chosen: Json) -> dict[str, str]:
    if chosen is None:
        return {}
    rule = f"must be a list of distinct words out of {', '.join(_CHOICES)}"
    if not isinstance(chosen, list):
        return {"settings.include": rule}
    return {
        f"settings.include[{place}]": rule
        for place, word in enumerate(chosen)
        if word not in _CHOICES or word in chosen[:place]
    }


def _check_repositories(named: Json) -> dict[str, str]:
    if named is None:
        return {}
    if not isinstance(named, list):
        return {"settings.repositories": "must be a list of repositories as OWNER/NAME"}
    if len(named) > MAX_REPOSITORIES:
        return {"settings.repositories": f"must have at most {MAX_REPOSITORIES} repositories"}
    details: dict[str, str] = {}
    places: dict[str, int] = {}
    for place, name in enumerate(named):
        key = f"settings.repositories[{place}]"
        if (
            not isinstance(name, str)
            or not REPOSITORY.fullmatch(name)
            or name.endswith(("/.", "/.."))
        ):
            details[key] = "must be a repository as OWNER/NAME"
        elif places.setdefault(name.lower(), place) != place:
            details[key] = f"repeats settings.repositories[{places[name.lower()]}]"
    return details
