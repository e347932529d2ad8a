"""What walks over APIs have in common: items out of a page's entries, and walks without an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from distill_grpc.sources.api_json import text_at
from distill_grpc.sources.base import Item, Json, PlatformError

_log = structlog.get_logger()


def items_of(entries: Iterable[Json], make: Callable[[Json], Item | None]) -> list[Item]:
    """The items of a page, each id once (the first stands, as lists begin with the newest).

    An entry that cannot be understood is logged and left out; it does not stop its page.
    """
    found: dict[str, Item] = {}
    for entry in entries:
        try:
            item = make(entry)
        except Exception as error:
            _log.warning("entry_not_understood", why=type(error).__name__)
            continue
        if item is None:
            _log.warning("entry_without_identity", type=text_at(entry, "type")[:100])
            continue
        found.setdefault(item.platform_id, item)
    return list(found.values())


def endless() -> PlatformError:
    """The failure of a list whose pages do not end."""
    return PlatformError("The list's pages go round in a circle.", reason="endless")
