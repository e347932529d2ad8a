"""How much a story matters, before its sentences are looked at."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from statistics import median

from distill_grpc.llm.base import DigestRequest
from distill_grpc.llm.clustering import Story
from distill_grpc.llm.reading import Reading, can_stand
from distill_grpc.llm.reasons import liked_authors, liked_tags

_SPREAD = 0.7  # for each doubling of the voices that tell a story
_RESPONSE = 0.25  # for each doubling of engagement over what its author is used to
_MOST_RESPONSE = 4.0  # doublings; beyond, numbers say more about the platform than the story
_AGE = 0.25  # what the oldest document of the period loses
_THIN = 0.35  # what a document without content loses
_SUBSTANCE = 20  # different terms that make a document substantial
_TITLE_ONLY = 0.55
_SCRAP = 0.15
_ADVERTISING = 0.4
_STEERING = 0.3  # what a document that speaks to a model keeps
_NAMES_THE_USER = 1.5
_LIKED_TAG = 1.35
_LIKED_SOURCE = 1.2
_LIKED_AUTHOR = 1.5
_LIKED_LANGUAGE = 1.15  # among several tellings of one story
_FEWEST = 4  # documents of an author that make a baseline

_ADVERTISEMENT = re.compile(
    r"""\b(?:
      sponsor(?:ed|ing|ship)? | promo(?:tion)?\ code | coupon | giveaway | black\ friday | buy\ now
    | \d+\ ?%\ (?:off|rabatt|de\ descuento|de\ réduction|di\ sconto|de\ desconto|korting)
    | limited[- ]time\ offer | free\ shipping | anzeige | werbung | publicidad
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def weigh(
    readings: Sequence[Reading],
    request: DigestRequest,
    doublings: dict[str, float],
    naming: Collection[str],
) -> None:
    """Sets each document's weight: response, age, what the user cares for, and substance.

    `doublings` as of `responses`, `naming` the ids of documents that name the user.
    """
    instants = [reading.document.published_at.timestamp() for reading in readings]
    newest, span = max(instants), (max(instants) - min(instants)) or 1.0
    for reading, instant in zip(readings, instants, strict=True):
        weight = 1 + _RESPONSE * min(_MOST_RESPONSE, doublings.get(reading.id, 0.0))
        weight *= 1 - _AGE * (newest - instant) / span
        weight *= 1 - _THIN * (1 - min(1.0, len(reading.bag) / _SUBSTANCE))
        if not can_stand(reading):
            weight *= _TITLE_ONLY if reading.title else _SCRAP
        if _ADVERTISEMENT.search(f"{reading.title} {' '.join(reading.lead[:4])}"):
            reading.advertising = True
            weight *= _ADVERTISING
        weight *= _STEERING if reading.steering else 1.0
        weight *= _NAMES_THE_USER if reading.id in naming else 1.0
        weight *= _LIKED_TAG if liked_tags(reading, request.tags) else 1.0
        weight *= _LIKED_SOURCE if reading.document.source in request.sources else 1.0
        weight *= _LIKED_AUTHOR if liked_authors(reading, request.authors) else 1.0
        reading.weight = weight


def weigh_stories(stories: Sequence[Story], language: str = "") -> None:
    """Orders each story's documents, best first, and sets its voices and weight."""

    def place(reading: Reading) -> tuple[float, float, str]:
        liked = _LIKED_LANGUAGE if language and reading.language == language else 1.0
        return -reading.weight * liked, reading.document.published_at.timestamp(), reading.id

    for story in stories:
        story.readings.sort(key=place)
        story.voices = tuple(dict.fromkeys(reading.voice for reading in story.readings))
        story.weight = story.best.weight * (1 + _SPREAD * math.log2(len(story.voices)))


def responses(readings: Sequence[Reading]) -> dict[str, float]:
    """Doublings of engagement over the median of the author, else of the source; above 0 only.

    Platforms count different things, so documents are only held against their like.
    """
    by_author: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    by_source: defaultdict[str, list[float]] = defaultdict(list)
    for reading in readings:
        document = reading.document
        if document.engagement > 0 and math.isfinite(document.engagement):
            by_author[document.source, reading.voice].append(document.engagement)
            by_source[document.source].append(document.engagement)
    authors = {key: median(values) for key, values in by_author.items() if len(values) >= _FEWEST}
    sources = {key: median(values) for key, values in by_source.items() if len(values) >= _FEWEST}
    found: dict[str, float] = {}
    for reading in readings:
        document = reading.document
        usual = authors.get((document.source, reading.voice), sources.get(document.source))
        if usual is None or not math.isfinite(document.engagement):
            continue
        # One is added so that three likes over one are no sensation.
        doublings = math.log2((max(0.0, document.engagement) + 1) / (usual + 1))
        if doublings > 0:
            found[reading.id] = doublings
    return found
