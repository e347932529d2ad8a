"""Rotation of the keys for what is stored sealed, while everything runs.

A new key is put in front of the old ones; everything new is sealed with it. `rotate` seals the rest
anew, batch by batch, after which the old keys seal nothing and can be taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.encryption import CannotDecrypt, Keyring
from distill_grpc.feed.pushing import endpoint_context
from distill_grpc.feed.sealing import credentials_context, tokens_context
from distill_grpc.feed.store import keys as store

BATCH = 200
_CONTEXTS: Mapping[str, Callable[[str, Any], tuple[str, ...]]] = {
    "credentials": credentials_context,
    "tokens": tokens_context,
    "push secrets": endpoint_context,
}


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, by its id, and how many values it has sealed."""

    key_id: str
    values: int
    is_there: bool
    seals: bool  # what is new


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: values sealed anew, and those that no key opens."""

    sealed: Mapping[str, int]  # by kind
    left: int


async def list_keys(engine: AsyncEngine, keyring: Keyring) -> list[KeyUse]:
    """Every key that is there or has sealed something: the one that seals first."""
    async with engine.connect() as connection:
        counts = await store.count_by_key(connection)
    known = [
        KeyUse(key_id, counts[key_id], key_id in keyring.key_ids, key_id == keyring.current_key_id)
        for key_id in keyring.key_ids | counts.keys()
    ]
    return sorted(known, key=lambda use: (not use.seals, not use.is_there, use.key_id))


async def rotate(engine: AsyncEngine, keyring: Keyring) -> Rotated:
    """Seals everything with the newest key. May run at any time, and more than once at a time."""

    def seal_anew(kind: str, row: Row[Any]) -> bytes | None:
        context = _CONTEXTS[kind](row.user_id, row.name)
        try:
            opened = keyring.open(row.sealed, context=context)
        except CannotDecrypt:
            return None
        return keyring.seal(opened, context=context)

    sealed = dict.fromkeys(store.KINDS, 0)
    for kind in store.KINDS:
        after: store.Place | None = store.begin(kind)
        while after is not None:
            async with engine.begin() as connection:
                count, after = await store.reseal(
                    connection,
                    kind,
                    keyring.current_key_id,
                    seal_anew,
                    after=after,
                    limit=BATCH,
                )
            sealed[kind] += count
    async with engine.connect() as connection:
        counts = await store.count_by_key(connection)
    return Rotated(sealed, counts.total() - counts[keyring.current_key_id])


async def forget_missing(engine: AsyncEngine, keyring: Keyring) -> int:
    """Removes what was sealed with keys that are gone for good; returns how many values."""
    async with engine.begin() as connection:
        counts = await store.count_by_key(connection)
        return await store.forget(connection, counts.keys() - keyring.key_ids)


async def require_all(engine: AsyncEngine, keyring: Keyring) -> None:
    """Raises ValueError where something is sealed with a key that is not there."""
    async with engine.connect() as connection:
        counts = await store.count_by_key(connection)
    missing = counts.keys() - keyring.key_ids
    if missing:
        values = sum(counts[key_id] for key_id in missing)
        raise ValueError(
            f"{_stored(values)} sealed with keys that are not there "
            f"({', '.join(sorted(missing))}); add the keys, or let `distill keys forget` remove "
            "what they sealed"
        )


def _stored(values: int) -> str:
    return "1 stored value is" if values == 1 else f"{values} stored values are"
