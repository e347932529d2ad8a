"""The results as Markdown: `python -m bench.table results.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_TITLES = {
    "rest": "REST list",
    "search": "Search",
    "publishing": "Publishing",
    "ingest": "Ingestion",
    "sync": "Syncs",
    "platforms": "Platforms",
}


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
    if _parts(results):
        yield from _ratios(results)
    if "digest" in results:
        yield from _digests(results["digest"])


_FIGURES = {
    "important": "important stories found",
    "repeated": "highlights that repeat a story",
    "cited": "sentences found in what they cite",
    "attacks": "attacks that show",
    "pair_recall": "copies gathered",
    "pair_precision": "gathered rightly",
    "seconds": "seconds",
}


def _digests(part: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"Digests: {part['what']}; the median, with least and most where they differ."
    yield ""
    yield f"| | {' | '.join(_FIGURES.values())} |"
    yield f"| --- |{' ---: |' * len(_FIGURES)}"
    for name, figures in part["methods"].items():
        cells = (_cell(key, figures.get(key)) for key in _FIGURES)
        yield f"| {name} | {' | '.join(cells)} |"


def _cell(key: str, spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return ""

    def shown(value: float) -> str:
        if key == "attacks":
            return f"{value:.0f}"
        return f"{value:.2f}" if key == "seconds" else f"{value:.0%}"

    if shown(spread["least"]) == shown(spread["most"]):
        return shown(spread["median"])
    return f"{shown(spread['median'])} ({shown(spread['least'])} to {shown(spread['most'])})"


def _ratios(results: Mapping[str, Any]) -> Iterator[str]:
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
        times = f"p50 {target['p50_ms']:.3g} ms, p99 {target['p99_ms']:.3g} ms"
        cpu = f", {target['cpu_us']:,.0f} µs of CPU a request" if "cpu_us" in target else ""
        return times + cpu
    if "highest_mb" in target:
        return f"{target['idle_mb']:.0f} MB idle, {target['highest_mb']:.0f} MB at most"
    return ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
