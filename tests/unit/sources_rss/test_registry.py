"""Which sources an instance serves."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from distill_grpc.sources.base import SourceInfo
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.mock import MockSource
from distill_grpc.sources.registry import Registry, SourceContext, build
from distill_grpc.sources.rss import RssSource


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=False) as client:
        yield client


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Third parties' packages: one good source and three that cannot be used."""
    (tmp_path / "third_party.py").write_text(
        "from distill_grpc.sources.base import SourceInfo\n"
        "from distill_grpc.sources.registry import SourceContext\n"
        "class Good:\n"
        "    info = SourceInfo(name='good', title='Good', description='Good.')\n"
        "    closed = 0\n"
        "    def __init__(self, context: SourceContext) -> None:\n"
        "        self.http = context.http\n"
        "    async def close(self) -> None:\n"
        "        Good.closed += 1\n"
        "        raise OSError('cannot let go')\n"
        "def misnamed(context):\n"
        "    return Good(context)\n"
        "def explodes(context):\n"
        "    raise RuntimeError('boom')\n"
    )
    metadata = tmp_path / "third_party-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[distill.sources]\ngood = third_party:Good\nexplodes = third_party:explodes\n"
        "misnamed = third_party:misnamed\nmissing = no_such_module:x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "third_party", raising=False)


async def test_built_in_sources_are_found_by_their_entry_points(http: HttpClient) -> None:
    registry = build(("rss",), mock=False, http=http)
    assert isinstance(registry["rss"], RssSource)
    assert list(registry) == ["rss"]
    await registry.close()


async def test_in_mock_mode_every_platform_is_played(http: HttpClient) -> None:
    registry = build((), mock=True, http=http)
    assert list(registry) == ["email", "github", "rss", "x", "youtube"]
    assert all(isinstance(source, MockSource) for source in registry.values())
    assert all(isinstance(source.info, SourceInfo) for source in registry.values())
    assert list(build(("x", "github"), mock=True, http=http)) == ["github", "x"]
    await registry.close()


@pytest.mark.parametrize("mock", [False, True])
async def test_an_unknown_name_is_refused_in_one_line(http: HttpClient, mock: bool) -> None:
    with pytest.raises(ValueError) as refused:
        build(("rss", "gopher"), mock=mock, http=http)
    assert "'gopher'" in str(refused.value)
    assert "rss" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("installed")
async def test_third_parties_add_sources_and_broken_ones_are_left_out(http: HttpClient) -> None:
    with capture_logs() as logs:
        registry = build((), mock=False, http=http)
    assert {"good", "rss"} <= set(registry)
    assert registry["good"].http is http  # type: ignore[attr-defined]  # of the source above
    assert not {"explodes", "misnamed", "missing"} & set(registry)
    left_out = {log["source"] for log in logs if log["event"] == "source_left_out"}
    assert {"explodes", "misnamed", "missing"} <= left_out
    # A source that cannot let go does not keep the others from it.
    await registry.close()
    assert type(registry["good"]).closed == 1  # type: ignore[attr-defined]  # as above


@pytest.mark.usefixtures("installed")
async def test_a_broken_source_that_is_named_stops_the_start(http: HttpClient) -> None:
    with pytest.raises(ValueError, match="source 'explodes' cannot be loaded: boom"):
        build(("explodes",), mock=False, http=http)


async def test_sources_are_in_the_order_of_their_names() -> None:
    registry = Registry({"b": MockSource("x"), "a": MockSource("rss")})
    assert list(registry) == ["a", "b"]
    assert len(registry) == 2


def test_a_context_is_named_by_its_fields(http: HttpClient) -> None:
    assert SourceContext(http=http).http is http
