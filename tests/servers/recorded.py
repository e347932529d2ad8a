"""Plays recorded answers of GitHub (WireMock mappings), their templates filled in by a given clock."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.servers.platform import PlatformServer, http_date

_TEMPLATE = re.compile(r"\{\{(?:now|testStartDate)\s*([^}]*)\}\}")
_ARGUMENT = re.compile(r"(\w+)='([^']*)'")


class RecordedServer(PlatformServer):
    """Gives each path its recorded answers in turn, the last one for ever."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self._files = folder / "__files"
        self._answers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for mapping in sorted((folder / "mappings").iterdir(), key=_order):
            told = json.loads(mapping.read_text())
            self._answers[told["request"]["url"]].append(told["response"])

    def redirect(self, recorded: str, path: str) -> None:
        """The answers of a recorded path are given at `path` as well."""
        self._answers[path] = self._answers[recorded]

    def holder(self, request: web.Request) -> str:
        return ""

    async def respond(self, request: web.Request) -> web.Response:
        answers = self._answers.get(request.path_qs)
        if not answers:
            return web.Response(status=404, body=b'{"message": "Not Found"}')
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        if "bodyFileName" in told:
            body = (self._files / told["bodyFileName"]).read_text()
        else:
            body = told.get("body", "")
        headers = {
            name: self._filled(value).replace("https://api.github.com", self.origin)
            for name, value in told["headers"].items()
            if isinstance(value, str)
        }
        headers.setdefault("Date", "none")
        return web.Response(status=told["status"], body=body.encode(), headers=headers)

    def _filled(self, value: str) -> str:
        return _TEMPLATE.sub(self._instant, value)

    def _instant(self, match: re.Match[str]) -> str:
        told = dict(_ARGUMENT.findall(match[1]))
        amount, _, unit = told.get("offset", "0 seconds").partition(" ")
        moment = self.clock() + timedelta(**{unit: int(amount)})
        return str(int(moment.timestamp())) if told["format"] == "unix" else http_date(moment)


def _order(mapping: Path) -> int:
    found = re.match(r"[0-9]+", mapping.name)
    return int(found[0]) if found else 0
