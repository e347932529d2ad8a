"""A source that does what a test tells it to: yields pages, fails, waits for events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from distill_grpc.sources.base import Account, FetchRequest, Item, Page, SourceInfo

# A page to yield, an exception to raise, an event to wait for, or something to await.
Step = Page | BaseException | asyncio.Event | Callable[[], Awaitable[object]]
Script = Callable[[FetchRequest], Iterable[Step]]
Identify = Callable[[Mapping[str, Any]], Account]


class ScriptedSource:
    """Plays `script`; keeps every request that it was called with."""

    def __init__(
        self, name: str = "scripted", parts: tuple[str, ...] = ("a",), **info: Any
    ) -> None:
        told = {"name": name, "title": name.title(), "description": "Plays a script.", **info}
        self.info = SourceInfo(**told)
        # What `identify` answers with, raises, or waits for before it answers with nobody.
        self.account: Account | BaseException | asyncio.Event | Identify = Account()
        self.identified: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self.named = parts
        self.requests: list[FetchRequest] = []
        self.script: Script = lambda _request: ()

    def plays(self, *steps: Step) -> None:
        """The same steps at every fetch; pages of parts to skip are left out."""
        self.script = lambda request: (
            step for step in steps if not (isinstance(step, Page) and step.part in request.skip)
        )

    def check(self, credentials: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Takes everything."""

    async def identify(
        self, credentials: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Account:
        """What the test says."""
        self.identified.append((dict(credentials), dict(settings)))
        match self.account:
            case BaseException():
                raise self.account
            case asyncio.Event():
                await self.account.wait()
                return Account()
            case Account():
                return self.account
            case _:
                return self.account(credentials)

    def parts(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of the settings, else those of the test."""
        return tuple(settings.get("parts", self.named))

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Goes through the script."""
        self.requests.append(request)
        for step in self.script(request):
            match step:
                case Page():
                    yield step
                case BaseException():
                    raise step
                case asyncio.Event():
                    await step.wait()
                case _:
                    await step()


def items(part: str, numbers: Iterable[int], at: datetime) -> list[Item]:
    """Items whose ids tell the part and the number."""
    return [
        Item(
            platform_id=f"{part}-{n}", published_at=at, content=f"Item {n} of {part}", author="Ann"
        )
        for n in numbers
    ]


def paged(part: str, pages: int, size: int, at: datetime) -> Callable[[FetchRequest], list[Page]]:
    """Pages of `size` items, resumed after the page that the cursor names."""

    def rest(request: FetchRequest) -> list[Page]:
        first = request.cursors.get(part, -1) + 1
        return [
            Page(
                part=part,
                items=items(part, range(page * size, (page + 1) * size), at),
                cursor=page,
                last=page == pages - 1,
            )
            for page in range(first, pages)
        ]

    return rest
