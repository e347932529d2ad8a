"""Connections to the cores: several to each, used in turn, and only those whose core serves.

A core's health is watched (grpc.health.v1): one that says NOT_SERVING, which it does before it stops,
gets no new calls, while those that it has begun go on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

import grpc
from grpc import ChannelConnectivity as State

# Seconds after the last core was lost within which a call waits for the next; later ones are told at
# once. A network that blinks is no outage, and an outage must not pile up requests.
PATIENCE = 2.0
# Calls in flight on one channel. Beyond 100 a core refuses streams, and what it refuses while it tells so
# for the first time looks like a lost connection: the rest waits here.
AT_ONCE = 80

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A name may stand for several cores; each is called in turn.
    (
        "grpc.service_config",
        json.dumps(
            {
                "loadBalancingConfig": [{"round_robin": {}}],
                "healthCheckConfig": {"serviceName": ""},
            }
        ),
    ),
    # Without pools of their own, channels to one address share one connection, and with it one of
    # the processes that share the port.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
    # A core that comes back is found within these, not within gRPC's two minutes: well within `PATIENCE`,
    # as the next one may leave at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 400),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    # A peer that is gone without a word is noticed while calls wait for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class Cores:
    """`per_core` channels to each of `targets` (`host:port`, or any gRPC name)."""

    def __init__(self, targets: Sequence[str], *, per_core: int) -> None:
        """Must be called with a running event loop; connects when the first call is made."""
        self._channels = [
            grpc.aio.insecure_channel(target, options=_OPTIONS)
            for _ in range(per_core)
            for target in targets
        ]
        self._places = [asyncio.Semaphore(AT_ONCE) for _ in self._channels]
        self._turns = count()
        self._alive_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._channels)

    def __getitem__(self, number: int) -> grpc.aio.Channel:
        return self._channels[number]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """The number of the channel whose turn it is, for as long as a call is in flight on it."""
        number = await self._next()
        async with self._places[number]:
            yield number

    async def _next(self) -> int:
        """The number of the channel whose turn it is.

        Where no core serves, it waits until one does or none has for `PATIENCE`; then it returns a
        channel on which a call fails at once.
        """
        number = self._choose()
        if number is None and (left := self._alive_at + PATIENCE - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed(), left)
            number = self._choose()
        return next(self._turns) % len(self._channels) if number is None else number

    def hopeful(self) -> bool:
        """False where every core has been away for longer than `PATIENCE`: asking again is in vain."""
        return self._choose() is not None or time.monotonic() < self._alive_at + PATIENCE

    async def close(self) -> None:
        """Closes the channels; calls that still wait are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def _choose(self) -> int | None:
        """A channel whose core serves, else one that connects, else None."""
        first = next(self._turns)
        numbers = [(first + step) % len(self._channels) for step in range(len(self._channels))]
        # Looking at each also connects those that are idle.
        states = {
            number: self._channels[number].get_state(try_to_connect=True) for number in numbers
        }
        for number in numbers:
            if states[number] is State.READY:
                self._alive_at = time.monotonic()
                return number
        return next((n for n in numbers if states[n] is not State.TRANSIENT_FAILURE), None)

    async def _changed(self) -> None:
        """Returns when a channel is no longer in failure."""
        waits = [
            asyncio.ensure_future(channel.wait_for_state_change(State.TRANSIENT_FAILURE))
            for channel in self._channels
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
