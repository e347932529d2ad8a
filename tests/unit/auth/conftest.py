from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from distill_grpc.auth import Caller, InvalidToken, TokenVerifier
from tests.unit.auth.forging import NOW, Signer

Refusal = Callable[..., Awaitable[str]]
Acceptance = Callable[..., Awaitable[Caller]]


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="session")
def stranger() -> Signer:
    """Another issuer, whom nobody trusts, with the same key id."""
    return Signer()


@pytest.fixture
def accepted(signer: Signer) -> Acceptance:
    async def accepted(token: str, now: float = NOW, **trust: object) -> Caller:
        return await TokenVerifier([signer.trusted(**trust)]).verify(f"Bearer {token}", now=now)

    return accepted


@pytest.fixture
def refused(signer: Signer) -> Refusal:
    """The reason for which a token is refused; fails where it is accepted."""

    async def refused(token: str, now: float = NOW, **trust: object) -> str:
        with pytest.raises(InvalidToken) as caught:
            await TokenVerifier([signer.trusted(**trust)]).verify(f"Bearer {token}", now=now)
        assert str(caught.value) == "Invalid or expired authentication token"
        return caught.value.reason

    return refused
