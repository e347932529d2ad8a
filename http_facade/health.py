"""What `/health` says while the door cannot serve (seed 002's shape, status 503)."""

from __future__ import annotations

import time
from datetime import timedelta

from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetHealthResponse

HEALTH_RPC = "/distill.v1.DiscoveryService/GetHealth"


class Unhealthy:
    """Builds the answer of a door that cannot serve; `uptime` is the door's own."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._started = time.monotonic()

    def core_away(self, status: Status) -> GetHealthResponse:
        """The health of a service whose core answers `status`."""
        return self._because("core", status.message or "cannot be reached")

    def stopping(self) -> GetHealthResponse:
        """The health of a door that still answers, and should be left."""
        return self._because("facade", "is stopping")

    def _because(self, part: str, why: str) -> GetHealthResponse:
        running = timedelta(seconds=int(time.monotonic() - self._started))
        response = GetHealthResponse(
            status=GetHealthResponse.unhealthy,
            version=self._version,
            uptime=str(running),
            platform_api_status="unknown",
        )
        response.degraded_parts[part] = why
        return response


def is_health(rpc: contract.Rpc) -> bool:
    """True for the RPC that `/health` calls."""
    return rpc.full_name == HEALTH_RPC
