"""Few threads, a short queue, and a clear word to the rest."""

from __future__ import annotations

import asyncio
import threading

import pytest

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.publishing.limits import network
from distill_grpc.publishing.passwords import Passwords
from distill_grpc.publishing.threads import BoundedThreads


async def test_what_does_not_fit_is_refused_and_room_comes_back() -> None:
    threads = BoundedThreads("test", threads=2, queue=3)
    go = threading.Event()
    waiting = [asyncio.create_task(threads.run(go.wait, 10)) for _ in range(5)]
    await asyncio.sleep(0.05)
    with pytest.raises(DistillError) as refused:
        await threads.run(int)
    assert refused.value.reason == ErrorReason.UNAVAILABLE
    assert refused.value.retry_after is not None
    waiting[0].cancel()  # whoever leaves makes no room: the thread goes on
    await asyncio.sleep(0.05)
    with pytest.raises(DistillError):
        await threads.run(int)
    go.set()
    await asyncio.wait(waiting)
    assert await threads.run(int) == 0
    threads.close()


async def test_one_user_cannot_take_the_threads_of_others() -> None:
    threads = BoundedThreads("test", threads=2, queue=3)
    go = threading.Event()
    waiting = [asyncio.create_task(threads.run_for("ada", go.wait, 10)) for _ in range(4)]
    await asyncio.sleep(0.05)
    with pytest.raises(DistillError) as refused:
        await threads.run_for("ada", int)
    assert refused.value.reason == ErrorReason.UNAVAILABLE
    for user in ("bob", "rita", "bob"):
        assert await asyncio.wait_for(threads.run_for(user, int), 5) == 0
    for call in waiting[:2]:  # whoever leaves takes no second thread: the first one goes on
        call.cancel()
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(threads.run_for("bob", int), 5) == 0
    go.set()
    await asyncio.wait(waiting)
    assert [call.result() for call in waiting[2:]] == [True, True]
    assert await threads.run_for("ada", int) == 0
    threads.close()


async def test_a_hash_is_argon2id_at_the_cost_that_was_chosen_and_salted() -> None:
    threads = BoundedThreads("test")
    passwords = Passwords(threads)
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert stored != await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horsf")
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("garbage", "correct horse")
    assert not passwords.is_outdated(stored)
    assert passwords.is_outdated(stored.replace("t=2", "t=1"))
    threads.close()


async def test_a_password_is_the_same_however_its_accents_are_typed() -> None:
    threads = BoundedThreads("test")
    passwords = Passwords(threads)
    stored = await passwords.hash("caf\u00e9 cr\u00e8me")
    assert await passwords.verify(stored, "cafe\u0301 cre\u0300me")
    for wrong in ("short77", "a" * 129, "e\u0301" * 7):
        with pytest.raises(DistillError) as refused:
            await passwords.hash(wrong)
        assert set(refused.value.details) == {"password"}
    threads.close()


def test_who_is_behind_an_address() -> None:
    assert network("192.0.2.7") == "192.0.2.7"
    assert network("::ffff:192.0.2.7") == "192.0.2.7"
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network("") == network("garbage") == "unknown"
