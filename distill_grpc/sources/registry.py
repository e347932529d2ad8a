"""The sources that an instance serves, found through the entry-point group `distill.sources`.

An entry point names a factory: it takes a `SourceContext` and returns a `Source`. Built-in sources
come the same way as those of third parties. A source may have an `async close()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import cast

import structlog

from distill_grpc.sources.base import Source, SourceInfo
from distill_grpc.sources.budgets import Budgets, Unlimited
from distill_grpc.sources.http import HttpClient

_log = structlog.get_logger()

GROUP = "distill.sources"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnInstance:
    """This very service, for a source that reads it as any other client does."""

    url: str  # of its REST door, without a slash at the end
    http: HttpClient  # may reach it wherever it lies
    token: Callable[[str], str]  # user id → a token that lives for minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a source is built with."""

    http: HttpClient  # shared by all sources; it is not theirs to close
    budgets: Budgets = field(default_factory=Unlimited)  # what the platforms let us spend
    # API roots in the platforms' stead, by source: an enterprise host, a proxy, a test server.
    api_urls: Mapping[str, str] = field(default_factory=dict)
    own: OwnInstance | None = None  # None: users come from elsewhere, or are played
    google_token_url: str | None = None  # where Google's tokens are renewed; None: as usual


class Registry(Mapping[str, Source]):
    """Sources by name, in the order of their names."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sorted(sources.items()))

    def __getitem__(self, name: str) -> Source:
        return self._sources[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    async def close(self) -> None:
        """Closes every source that can be closed."""
        for name, source in self._sources.items():
            close = getattr(source, "close", None)
            if close is None:
                continue
            try:
                await close()
            except Exception:
                # One source that cannot let go must not keep the others from it.
                _log.exception("source_not_closed", source=name)


def build(
    names: tuple[str, ...],
    *,
    mock: bool,
    http: HttpClient,
    budgets: Budgets | None = None,
    api_urls: Mapping[str, str] | None = None,
    google_token_url: str | None = None,
    own: OwnInstance | None = None,
) -> Registry:
    """The sources of these names; of all that are there, where none is named.

    Each source with an address of its own in `api_urls` may reach that origin wherever it lies.

    Raises `ValueError` in one line for a name that is not there. A source that cannot be loaded is
    left out with a warning, unless it is named. With `mock`, every platform is played.
    """
    context = SourceContext(
        http=http,
        budgets=budgets or Unlimited(),
        api_urls=api_urls or {},
        google_token_url=google_token_url,
        own=own,
    )
    available = _mocks() if mock else _installed(context)
    wanted = names or tuple(available)
    unknown = sorted(set(wanted) - set(available))
    if unknown:
        raise ValueError(
            f"unknown source {', '.join(map(repr, unknown))}; available: {', '.join(sorted(available))}"
        )
    sources: dict[str, Source] = {}
    for name in wanted:
        try:
            sources[name] = _checked(name, available[name]())
        except Exception as error:
            if names:
                raise ValueError(f"source {name!r} cannot be loaded: {error}") from error
            _log.warning("source_left_out", source=name, error=str(error))
    return Registry(sources)


def _installed(context: SourceContext) -> dict[str, Callable[[], Source]]:
    return {
        point.name: _loader(point, _own_context(point.name, context))
        for point in entry_points(group=GROUP)
    }


def _own_context(name: str, context: SourceContext) -> SourceContext:
    own = context.api_urls.get(name)
    return context if own is None else replace(context, http=context.http.trusting(own))


def _mocks() -> dict[str, Callable[[], Source]]:
    from distill_grpc.sources.mock import PLATFORMS, MockSource

    return {name: _mock_loader(MockSource, name) for name in PLATFORMS}


def _loader(point: EntryPoint, context: SourceContext) -> Callable[[], Source]:
    return lambda: cast("Source", point.load()(context))


def _mock_loader(kind: Callable[[str], Source], name: str) -> Callable[[], Source]:
    return lambda: kind(name)


def _checked(name: str, source: Source) -> Source:
    info = getattr(source, "info", None)
    if not isinstance(info, SourceInfo) or info.name != name:
        raise TypeError(f"its info must be a SourceInfo with the name {name!r}")
    return source
