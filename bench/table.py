"""The results as Markdown: `python -m bench.table results.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_TITLES = {"rest": "REST list", "ingest": "Ingestion", "sync": "Syncs", "platforms": "Platforms"}


def markdown(results: Mapping[str, Any]) -> str:
    """One table of ratios, which is what counts, and the figures behind them."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    yield (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}; load generator and database on the same machine."
    )
    yield ""
    yield "| ratio | median | from, to | aim |"
    yield "| --- | ---: | ---: | --- |"
    for part in _parts(results):
        for ratio in results[part]["ratios"]:
            yield (
                f"| {_TITLES[part]}: {ratio['name']} | **{_number(ratio['median'])}** | "
                f"{_number(ratio['least'])} to {_number(ratio['most'])} | {_aim(ratio)} |"
            )
    for part in _parts(results):
        yield from _figures(_TITLES[part], results[part])


def _figures(title: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{title}: {part['what']}; {part['rounds']} rounds in turn."
    yield ""
    yield "| | a second | from, to | |"
    yield "| --- | ---: | ---: | --- |"
    for name, target in part["targets"].items():
        rate = target["per_second"]
        spread = f"{_number(rate['least'])} to {_number(rate['most'])}"
        yield f"| {name} | {_number(rate['median'])} | {spread} | {_more(target)} |"
    for name, why in part["left_out"].items():
        yield ""
        yield f"**{name} was left out**: {why}."


def _parts(results: Mapping[str, Any]) -> list[str]:
    return [part for part in _TITLES if part in results]


def _aim(ratio: Mapping[str, Any]) -> str:
    if ratio["aim"] is None:
        return ""
    return f"≥ {ratio['aim']:g}" + ("" if ratio["reached"] else ", **missed**")


def _more(target: Mapping[str, Any]) -> str:
    if "p50_ms" in target:
        return (
            f"p50 {target['p50_ms']:.0f} ms, p99 {target['p99_ms']:.0f} ms, "
            f"{target['cpu_us']:,.0f} µs of CPU a request"
        )
    if "highest_mb" in target:
        return f"{target['idle_mb']:.0f} MB idle, {target['highest_mb']:.0f} MB at most"
    return ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
