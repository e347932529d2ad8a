"""The named paragraphs: trending, mentions, important."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from offline_corpus import BRIDGES, NEWS, TREES

from distill_grpc.llm.base import Digest, DigestRequest, Document
from distill_grpc.llm.offline import summarise

Make = Callable[..., Document]

PLAIN = "The orchestra plays the ninth symphony in the old gasworks on the first day of June."


def digest_of(documents: list[Document], **fields: object) -> Digest:
    return summarise(DigestRequest(documents=documents, **fields))  # type: ignore[arg-type]


def fillers(document: Make) -> list[Document]:
    return [document(text, title=title) for title, text in NEWS.items()]


def test_a_story_of_several_authors_trends_and_says_how_many(document: Make) -> None:
    story = [
        document(
            f"Version 5 of the Falcon database adds vector search and halves its memory use{end}",
            title="Falcon 5 adds vector search",
        )
        for end in (".", ", its makers say.", ", according to its notes.")
    ]
    trending = digest_of(story + fillers(document)).sections["trending"]
    assert trending.text.startswith("3 authors write about “Falcon 5 adds vector search”")
    assert set(trending.document_ids) == {d.id for d in story}


def test_untitled_posts_of_several_authors_trend_by_the_words_they_share(document: Make) -> None:
    posts = [
        "Copilot prices doubled overnight, GitHub says the cost of models forced them to do so.",
        "GitHub doubled Copilot prices and I am looking for something else now.",
        "Paying double for Copilot from December, thanks GitHub, that was it for me.",
        "Our team drops Copilot after GitHub doubled the prices for every seat.",
    ]
    documents = [document(p, source="x", author=f"dev{n}") for n, p in enumerate(posts)]
    trending = digest_of(documents + fillers(document)).sections["trending"]
    assert trending.text.startswith("4 authors write about ")
    assert "Copilot" in trending.text.partition(":")[0]
    assert set(trending.document_ids) == {d.id for d in documents}


def bridges_among_others(document: Make) -> tuple[list[Document], list[Document]]:
    bridges = [document(text, title=title) for title, text in BRIDGES]
    return bridges, [*fillers(document), *map(document, TREES)]


def test_different_stories_about_one_thing_trend_as_a_topic(document: Make) -> None:
    bridges, others = bridges_among_others(document)
    trending = digest_of(bridges + others).sections["trending"]
    assert trending.text.startswith("4 authors write about repairs and bridge: The repairs of the ")
    assert set(trending.document_ids) == {d.id for d in bridges}


def test_only_who_tells_a_story_is_counted_and_cited_for_it(document: Make) -> None:
    bridges, others = bridges_among_others(document)
    title, text = BRIDGES[0]
    harbour = [bridges[0], document(f"{text} So it is.", title=title), document(text, title=title)]
    trending = digest_of(bridges + harbour[1:] + others).sections["trending"]
    assert trending.text.startswith(f"3 authors write about “{title}”")
    assert set(trending.document_ids) == {d.id for d in harbour}


def test_one_author_repeating_himself_is_no_trend(document: Make) -> None:
    documents = [document(f"{PLAIN} Seat {n} is left.", author="Hall") for n in range(5)]
    assert "trending" not in digest_of(documents + fillers(document)).sections


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Great talk by @jane_doe about queues at the conference today.", ("@jane_doe",)),
        ("Great talk by Jane_Doe about queues at the conference today.", ("jane_doe",)),
        ("The review was done by Jane  Doe, who knows this code best.", ("Jane Doe",)),
        ("Please write to jane@example.org if the build breaks again.", ("jane@example.org",)),
        ("Das hat Jürgen Groß in seinem Vortrag über Kanäle erklärt.", ("jürgen groß",)),
        ("これは@tanakaさんが昨日の会議で説明した内容です。", ("@tanaka",)),
    ],
)
def test_a_document_that_names_the_user_is_a_mention(
    document: Make, text: str, names: tuple[str, ...]
) -> None:
    named = document(text, author="Bob", title="Notes")
    mentions = digest_of([named, document(PLAIN)], mentions=names).sections["mentions"]
    assert mentions.document_ids == (named.id,)
    assert mentions.text.startswith("You were mentioned by Bob in “Notes”: “")


@pytest.mark.parametrize(
    "text",
    [
        "Great talk by @jane_doe2 about queues at the conference today.",
        "Write to mary.jane_doe@example.org if the build breaks again.",
        "The host jane_doe.example.org is down since this morning.",
        "This email was sent to you and to jane_doe because you signed up.",
        "Hi jane_doe,\nthe orchestra plays the ninth symphony tonight.",
    ],
)
def test_longer_names_addresses_footers_and_greetings_are_no_mention(
    document: Make, text: str
) -> None:
    assert "mentions" not in digest_of([document(text)], mentions=("@jane_doe",)).sections


def test_what_the_user_wrote_is_no_mention(document: Make) -> None:
    own = document("I, @jane, will speak about queues at the conference today.", author="Jane")
    assert "mentions" not in digest_of([own], mentions=("@jane",)).sections


@pytest.mark.parametrize("names", [(), ("",), ("@",), ("  ",), ("a",)])
def test_without_a_usable_name_there_are_no_mentions(
    document: Make, names: tuple[str, ...]
) -> None:
    assert "mentions" not in digest_of([document("a @ b, and c.")], mentions=names).sections


def test_many_mentions_are_counted_and_all_cited(document: Make) -> None:
    documents = [document(f"Thanks to @jane for fix number {n} of this week.") for n in range(6)]
    mentions = digest_of(documents, mentions=("@jane",)).sections["mentions"]
    assert mentions.text.endswith("; and in 3 more")
    assert set(mentions.document_ids) == {d.id for d in documents}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A vulnerability in the parser lets anyone read files, and 4.2.1 mends it.", "Security"),
        ("The advisory CVE-2026-12345 was published for the image library.", "Security"),
        ("Your payment has failed and the domain will be released next week.", "Action needed"),
        ("The deadline for talks at the winter conference is the first of December.", "Deadline"),
        ("The old interface is deprecated and goes away with the next version.", "Change ahead"),
        ("Eine Sicherheitslücke in der Bibliothek erlaubt das Lesen fremder Dateien.", "Security"),
        ("La date limite pour envoyer une proposition est le premier décembre.", "Deadline"),
    ],
)
def test_what_asks_to_be_acted_on_is_important(document: Make, text: str, kind: str) -> None:
    urgent = document(text, author="Quiet", title="Note of today")
    documents = [*fillers(document), urgent]
    digest = digest_of(documents, max_highlights=1)
    if urgent.id in digest.highlights[0].document_ids:
        pytest.fail("the filler stories should outweigh it")
    assert digest.sections["important"].text.startswith(f"{kind}: Note of today — ")
    assert digest.sections["important"].document_ids == (urgent.id,)


def test_what_is_urgent_is_not_said_twice_in_the_same_words(document: Make) -> None:
    flaw = "Researchers found a critical vulnerability in the document parser of Inkpress."
    documents = fillers(document)
    for n, rest in enumerate(
        (
            "A crafted letter lets strangers run code on every server of a publishing house.",
            "Scans by volunteers count which universities patched their machines within a day.",
            "Version 2.3.1 closes the hole in all editions since the year of the great flood.",
            "Insurers now ask their clients for the date of the last update of each computer.",
        )
    ):
        documents.append(
            document(f"{flaw} {rest}", title=f"{rest.split()[0]} news", author=f"A{n}")
        )
    digest = digest_of(documents)
    whole = [said.text for said in (*digest.highlights, digest.sections["important"])]
    assert sum(text.count(flaw) for text in whole) == 1


def test_else_the_best_story_that_was_not_told_is_important(document: Make) -> None:
    digest = digest_of(fillers(document), max_highlights=2)
    told = {i for h in digest.highlights for i in h.document_ids}
    important = digest.sections["important"]
    assert important.text.startswith("Don't miss: ")
    assert not told & set(important.document_ids)


def test_what_is_not_to_be_missed_is_not_what_a_highlight_says_in_the_same_words(
    document: Make,
) -> None:
    loop = "The lake loop is open again after the storm, except for the northern bridge."
    # Names and numbers tell these apart: they are two stories.
    rests = ("There, Maria Huber sells 40 soups.", "Today, Rex and Bello pay 12 crowns.")
    documents = [
        document(f"{loop} {rest}", title="The lake loop is open", author=f"A{n}")
        for n, rest in enumerate(rests)
    ]
    digest = digest_of([*documents, document(PLAIN)], max_highlights=1, authors=("A0", "A1"))
    told = [digest.highlights[0].text, digest.sections["important"].text]
    assert told[1].startswith("Don't miss: ")
    assert loop in told[0]
    assert loop not in told[1]


def test_sections_are_missing_where_there_is_nothing_to_say(document: Make) -> None:
    assert digest_of([document(PLAIN)], mentions=("@jane",)).sections == {}
