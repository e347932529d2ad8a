"""Digests of real feeds: the rules that must hold for any of them."""

from __future__ import annotations

import html
import os
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import feedparser
import pytest

from distill_grpc.llm.base import DigestRequest, Document
from distill_grpc.llm.cleaning import clean_text
from distill_grpc.llm.furniture import is_furniture
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.offline import summarise
from distill_grpc.llm.reading import read
from distill_grpc.llm.vectors import cosine

FOLDER = os.environ.get("DISTILL_TEST_FIXTURES")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="DISTILL_TEST_FIXTURES does not name the folder of recorded feeds"
)
FEEDS = [
    "DaringFireball.atom",
    "DaringFireball.rss",
    "OneFootTsunami.atom",
    "manton.rss",
    "monkeydom.rss",
]


def documents_of(name: str) -> list[Document]:
    assert FOLDER
    feed = feedparser.parse((Path(FOLDER) / "feeds" / "sites" / name).read_bytes())
    documents = []
    for number, entry in enumerate(feed.entries):
        body = entry.content[0].value if "content" in entry else entry.get("summary", "")
        instant = entry.get("published_parsed") or entry.get("updated_parsed")
        documents.append(
            Document(
                id=f"{name}-{number}",
                source="rss",
                author=entry.get("author") or feed.feed.get("title", ""),
                title=html.unescape(entry.get("title", "")),
                text=plain(body),
                url=entry.get("link", ""),
                published_at=datetime(*instant[:6], tzinfo=UTC),
            )
        )
    return documents


def plain(markup: str) -> str:
    markup = re.sub(r"(?is)<(script|style|pre).*?</\1>", "", markup)
    markup = re.sub(r"(?i)<(?:/p|br|/li|/blockquote|/h\d|/div)[^>]*>", "\n\n", markup)
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()


@pytest.mark.parametrize("name", FEEDS)
def test_a_digest_of_a_real_feed_holds_what_a_digest_promises(name: str) -> None:
    documents = documents_of(name)
    digest = summarise(DigestRequest(documents=documents))
    print(name, *(h.text for h in digest.highlights), dict(digest.sections), sep="\n")
    texts = {d.id: " ".join(clean_text(d.text).split()) for d in documents}
    assert len(digest.highlights) == 7
    assert digest.confidence == 1.0
    leads = 0
    for highlight in digest.highlights:
        body = highlight.text.rpartition(" — ")[2].removesuffix("…")
        cited = texts[highlight.document_ids[0]]
        assert (
            body in cited
            or highlight.text.partition(" — ")[2].removesuffix("…") in cited
            or (highlight.text.partition(": ")[2].removesuffix("…") in cited)
        )
        assert not is_furniture(body)
        assert "[Sponsor]" not in highlight.text
        leads += cited.startswith(body)
    assert leads < len(digest.highlights), "not just the first sentences"


def test_the_highlights_of_several_feeds_differ_in_matter_and_author() -> None:
    documents = [document for name in FEEDS for document in documents_of(name)]
    digest = summarise(DigestRequest(documents=documents))
    readings = {r.id: r for r in read(documents, Tokeniser(), lambda: None)}
    told = [readings[h.document_ids[0]] for h in digest.highlights]
    assert len({r.voice for r in told}) >= 4
    assert all(cosine(a.vector, b.vector) < 0.4 for a, b in pairwise(told))


def test_the_same_feed_under_two_addresses_is_told_once() -> None:
    documents = documents_of("manton.rss")
    copies = [
        Document(
            id=f"copy-{d.id}",
            source=d.source,
            author=d.author,
            title=d.title,
            text=d.text,
            url=d.url,
            published_at=d.published_at,
        )
        for d in documents
    ]
    digest = summarise(DigestRequest(documents=[*documents, *copies]))
    assert all(len(h.document_ids) == 2 for h in digest.highlights)
