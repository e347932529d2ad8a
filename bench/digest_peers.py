"""What digests are held against: the newest leads, and plain TextRank over all sentences."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from distill_grpc.llm.base import Document

Told = list[tuple[str, tuple[str, ...]]]  # text, ids of its documents

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")


def leads(documents: Sequence[Document], count: int) -> Told:
    """The first sentences of the newest documents."""
    newest = sorted(documents, key=lambda d: d.published_at, reverse=True)[:count]
    return [(_SENTENCE.split(d.text)[0], (d.id,)) for d in newest]


def textrank(documents: Sequence[Document], count: int) -> Told:
    """The sentences that PageRank puts first (Mihalcea, Tarau 2004): likeness is the share of words."""
    sentences = [
        (d.id, s) for d in documents for s in _SENTENCE.split(d.text) if len(s.split()) > 3
    ]
    words = [set(_WORD.findall(s.lower())) for _, s in sentences]
    holders: dict[str, list[int]] = {}
    for i, own in enumerate(words):
        for word in own:
            holders.setdefault(word, []).append(i)
    edges: list[dict[int, float]] = []
    for i, own in enumerate(words):
        shared = Counter(j for word in own for j in holders[word] if j != i)
        edges.append({j: n / _length(own, words[j]) for j, n in shared.items() if n > 1})
    strength = [sum(links.values()) for links in edges]
    ranks = [1.0] * len(sentences)
    for _ in range(30):
        ranks = [
            0.15 + 0.85 * sum(w / strength[j] * ranks[j] for j, w in links.items() if strength[j])
            for links in edges
        ]
    best = sorted(range(len(sentences)), key=lambda i: -ranks[i])[:count]
    return [(sentences[i][1], (sentences[i][0],)) for i in best]


def _length(a: set[str], b: set[str]) -> float:
    return math.log(len(a) + 1) + math.log(len(b) + 1)
