"""What is counted and what is logged of a request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import REGISTRY
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from http_facade.transport import Outcome
from tests.unit.http_facade.rest_door import Call, Door


def counted(route: str, method: str, status: str) -> float:
    labels = {"route": route, "method": method, "status": status}
    return REGISTRY.get_sample_value("distill_http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_template_and_never_by_what_clients_invent(
    door: Door,
) -> None:
    before = counted("/sync/{job_id}", "GET", "200")
    await door.ask("GET", "/sync/one")
    await door.ask("GET", "/sync/two")
    assert counted("/sync/{job_id}", "GET", "200") == before + 2
    unknown = counted("unmatched", "GET", "404")
    await door.ask("GET", "/random-path-1234")
    assert counted("unmatched", "GET", "404") == unknown + 1
    await door.ask("PROPFIND", "/api")
    text = (await door.ask("GET", "/metrics")).raw.decode()
    assert "random-path" not in text
    assert "PROPFIND" not in text


async def test_metrics_are_in_the_exposition_format(door: Door) -> None:
    await door.ask("GET", "/api")
    reply = await door.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    text = reply.raw.decode()
    assert 'distill_http_request_seconds_bucket{le="0.001",method="GET",route="/api"}' in text
    assert "distill_http_requests_in_flight 1.0" in text
    assert "python_info" in text  # the default registry, whoever registers there


def test_several_processes_are_added_up(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from http_facade import metrics\n"
        "metrics.observe(route='/api', method='GET', status=200, seconds=0.1)\n"
        "print(asyncio.run(metrics.exposition()).body.decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]
    series = 'distill_http_requests_total{method="GET",route="/api",status="200"}'
    assert f"{series} 1.0" in outputs[0]
    assert f"{series} 2.0" in outputs[1]


async def test_each_request_is_one_log_line_with_its_id_and_without_secrets(door: Door) -> None:
    with capture_logs() as lines:
        await door.ask(
            "GET",
            "/content/recent?page_token=SEKRET-1&nope=SEKRET-2",
            headers={"Authorization": "Bearer SEKRET-3", "X-Request-Id": "seen"},
        )
    (line,) = [line for line in lines if line["event"] == "http_request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/content/recent", 400)
    assert line["request_id"] == "seen"
    assert line["ms"] >= 0
    assert "SEKRET" not in str(lines)


async def test_the_request_id_is_bound_for_everything_that_logs_below(door: Door) -> None:
    seen: list[object] = []

    async def look(call: Call) -> Outcome:
        seen.append(get_contextvars().get("request_id"))
        return Outcome(response=call.rpc.response_class())

    door.core.answer = look
    await door.ask("GET", "/api", headers={"X-Request-Id": "abc"})
    assert seen == ["abc"]


async def test_a_request_with_line_breaks_is_no_second_log_line(door: Door) -> None:
    with capture_logs() as lines:
        await door.ask("GET", "/a%0aevent=forged")
    assert len(lines) == 1
    assert "forged" not in str(lines)
