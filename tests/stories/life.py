"""One user's life with one source, as REST shows it: connects, syncs, reads everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from structlog.typing import EventDict

from tests.service import Answer, Service, start_service

CANARY = "SEKRET"  # stands in every secret of a story


@dataclass
class Life:
    """A user who has one account, and everything that the service ever said to the user."""

    service: Service
    source: str
    user: str = "user_1"
    said: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Calls as the user."""
        answer = await self.service.call(method, path, body, user=self.user)
        self.said.append(answer.text)
        return answer

    async def connect(self, **body: Any) -> Answer:
        """`PUT /connections/{source}`."""
        return await self.call("PUT", f"/connections/{self.source}", body)

    async def watch(self, **options: Any) -> None:
        """Begins the watch, and waits for its first sync."""
        answer = await self.call("POST", "/watch", {"options": options})
        assert answer.status == 201, answer.text
        await self.service.synced(self.user)

    async def sync(self) -> Mapping[str, Any]:
        """A forced sync, from beginning to end; how it went for the source."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.call("POST", "/sync", {"force": True})
                if answer.status == 202:
                    break
                # Connecting makes a sync due, which the worker may have begun by itself.
                assert answer.body["error"] == "sync_in_progress", answer.text
                await self.service.job_done(answer.body["details"]["job_id"], self.user)
        done = await self.service.job_done(answer.body["job_id"], self.user)
        (told,) = done["sources"]
        assert told["source"] == self.source
        return dict(told)

    async def refused(self) -> Mapping[str, Any]:
        """The error with which a forced sync is refused, when none is under way."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.call("POST", "/sync", {"force": True})
                assert answer.status != 202, "the sync was accepted"
                if answer.body["error"] != "sync_in_progress":
                    return dict(answer.body)
                await self.service.job_done(answer.body["details"]["job_id"], self.user)

    async def waits(self, ledger: Sequence[object]) -> str:
        """Asserts that nobody asks a platform that asked to wait; until when it is left alone."""
        asked = len(ledger)
        for _ in range(3):
            refused = await self.refused()
            assert refused["error"] == "rate_limited"
        assert len(ledger) == asked, "asked before the instant that the platform named"
        return str(refused["retry_after"])

    async def ends_with_its_token(self, ledger: Sequence[object]) -> None:
        """Asserts that a token that was revoked is told, and not used again."""
        report = await self.sync()
        assert (report["status"], report["error"]) == ("failed", "token_expired")
        connection = await self.connection()
        assert (connection["state"], connection["error"]) == ("action_required", "token_expired")
        asked = len(ledger)
        assert (await self.sync())["status"] == "failed"
        assert len(ledger) == asked, "a token that ended was used again"

    async def reconnects(self, **credentials: str) -> None:
        """Connects with another token, and reads what came meanwhile."""
        again = await self.connect(credentials=credentials)
        assert (again.status, again.body["state"]) == (200, "ok"), again.text
        assert (await self.sync())["status"] == "completed"

    async def goes_on(self, instant: str) -> None:
        """Returns when the source was read well again, by itself and soon after the instant."""
        await until(instant)
        async with asyncio.timeout(60):
            while True:
                found = await self.connection()
                if found.get("last_success", "") >= instant and "error" not in found:
                    break
                await asyncio.sleep(0.1)

    async def connection(self) -> Mapping[str, Any]:
        """The connection as it is now."""
        answer = await self.call("GET", f"/connections/{self.source}")
        assert answer.status == 200, answer.text
        return dict(answer.body)

    async def stored(self) -> dict[str, Mapping[str, Any]]:
        """Everything of the last seven days by platform id, page by page; no id comes twice."""
        found: list[Mapping[str, Any]] = []
        path = "/content/recent?hours=168&limit=100"
        token = ""
        while True:
            answer = await self.call("GET", path + (f"&page_token={token}" if token else ""))
            assert answer.status == 200, answer.text
            found += answer.body["data"]
            token = answer.body["metadata"].get("next_page_token", "")
            if not token:
                break
        by_id = {item["platform_id"]: item for item in found}
        assert len(by_id) == len(found), "an item is there twice"
        return by_id

    async def completeness(self) -> float:
        """How much of what is watched is up to date."""
        answer = await self.call("GET", "/content/recent?hours=168&limit=1")
        return float(answer.body["metadata"]["completeness"])


async def until(instant: str) -> None:
    """Waits for an instant that an answer named."""
    wait = (datetime.fromisoformat(instant) - datetime.now(UTC)).total_seconds()
    assert wait < 10, f"{instant} is too far away for a test"
    await asyncio.sleep(max(wait, 0) + 0.05)


@asynccontextmanager
async def living(
    database_url: str, data_dir: Path, source: str, log_lines: list[EventDict], **settings: Any
) -> AsyncIterator[Life]:
    """A running service with one source, and a user of it; at the end no secret was told or logged."""
    async with start_service(database_url, data_dir, sources=(source,), **settings) as service:
        life = Life(service, source)
        yield life
        assert [text for text in life.said if CANARY in text] == []
    assert log_lines, "nothing was logged"
    assert [line for line in log_lines if CANARY in f"{line} {line!r}"] == []
