"""Links that end a subscription without a login: unguessable, and the same for the same pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

_PURPOSE = "post-mails"


@dataclass(frozen=True, slots=True)
class SubscriptionLinks:
    """Signs pairs of subscriber and creator. `sign` and `read` take a text and a purpose."""

    sign: Callable[[str, str], str]
    read: Callable[[str, str], str | None]

    def token(self, subscriber_id: UUID, creator_id: UUID) -> str:
        """The token of a pair."""
        return self.sign(f"{subscriber_id.hex}{creator_id.hex}", _PURPOSE)

    def pair(self, token: str) -> tuple[UUID, UUID] | None:
        """Subscriber and creator; None where the token was not made here."""
        named = self.read(token, _PURPOSE)
        return None if named is None else (UUID(named[:32]), UUID(named[32:]))
