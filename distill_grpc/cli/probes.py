"""What answers at an address: a facade, a core, or a server of small JSON documents."""

from __future__ import annotations

import json
from typing import Any

from distill_grpc.cli.failure import last_line

TIMEOUT = 5.0  # seconds for everything outside
MAX_DOCUMENT = 1_000_000  # bytes


async def rest_health(address: str) -> str | None:
    """What a facade there says of itself; None where there is none."""
    import aiohttp

    try:
        body = await get_json(f"http://{address}/health")
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return str(body.get("status")) if isinstance(body, dict) else None


async def grpc_health(address: str) -> str | None:
    """What a core there says to the standard question for health; None where there is none."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from distill_grpc.proto import contract

    # Another program's server does not know the service.
    question = health_pb2.HealthCheckRequest(service=contract.services()[0].full_name)
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(question, timeout=TIMEOUT)
        except grpc.aio.AioRpcError:
            return None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)).lower()


async def get_json(url: str) -> Any:
    """A small JSON document; ValueError for anything else."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        content = await answer.content.read(MAX_DOCUMENT + 1)
    if answer.status not in {200, 503} or len(content) > MAX_DOCUMENT:
        raise ValueError(f"it answered {answer.status} with {len(content)} bytes")
    return json.loads(content)


async def silence(url: str) -> str:
    """Why nobody answers HTTP at an address, in a few words; empty where somebody does.

    Any answer counts, a refusal too: nothing is said about who asks, and no redirect is followed.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            # A server that is up, or a proxy before one that is not?
            return f"answers {answer.status}" if answer.status in {502, 503, 504} else ""
    except aiohttp.ClientConnectorError as error:
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    except TimeoutError:
        return f"no answer within {TIMEOUT:.0f} s"
    except (aiohttp.ClientError, ValueError) as error:
        return last_line(error) or type(error).__name__
