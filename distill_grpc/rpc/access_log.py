"""Concern: one log line and one measurement per call."""

from __future__ import annotations

import time

import structlog
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from prometheus_client import Histogram

from distill_grpc.rpc.call import Call, CallFailed, Step

log = structlog.get_logger()

DURATION = Histogram(
    "distill_rpc_duration_seconds",
    "Time that calls took in the core, by method and gRPC code.",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


async def access_log(call: Call, request: Message, step: Step) -> Message:
    """Writes down what was called, by whom, how it ended and how long it took."""
    begin = time.perf_counter()
    code = "CANCELLED"
    try:
        response = await step(request)
        code = "OK"
    except CallFailed as failed:
        code = Code.Name(failed.status.code)
        raise
    finally:
        took = time.perf_counter() - begin
        DURATION.labels(call.rpc.full_name, code).observe(took)
        log.info(
            "rpc",
            method=call.rpc.full_name,
            code=code,
            ms=round(took * 1000, 1),
            user_id=call.authenticated.user_id if call.authenticated else None,
        )
    return response
