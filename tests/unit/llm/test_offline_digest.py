"""The offline summariser as its callers see it: what it tells, what it cites, what it leaves out."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offline_corpus import NEWS, NOON

from distill_grpc.llm.base import Digest, DigestRequest, Document
from distill_grpc.llm.cleaning import clean_text, clean_title
from distill_grpc.llm.offline import OfflineSummariser, summarise

Make = Callable[..., Document]

QUAKE = """\
A strong earthquake of magnitude 6.8 struck off the coast of northern Chile on Friday morning. Authorities \
lifted a tsunami warning after two hours. No deaths were reported.
An earthquake of magnitude 6.8 struck off the northern coast of Chile early on Friday. The tsunami warning \
was lifted by the authorities two hours later.
Northern Chile was struck by a magnitude 6.8 earthquake off its coast on Friday morning, and the authorities \
lifted a tsunami warning two hours later.
A magnitude 6.8 earthquake struck northern Chile on Friday. A tsunami warning for the coast was lifted after \
two hours, authorities said.
Strong magnitude 6.8 earthquake strikes off coast of northern Chile, authorities lift the tsunami warning \
after two hours on Friday.""".splitlines()
OTHERS = dict(list(NEWS.items())[:6])


def digest_of(documents: list[Document], **fields: object) -> Digest:
    return summarise(DigestRequest(documents=documents, **fields))  # type: ignore[arg-type]


def a_day(document: Make) -> list[Document]:
    quakes = [
        document(text, title="Earthquake strikes northern Chile", author=f"Agency {n}")
        for n, text in enumerate(QUAKE)
    ]
    return quakes + [document(text, title=title) for title, text in OTHERS.items()]


def test_a_story_carried_by_five_sources_is_told_once_and_cites_all_five(document: Make) -> None:
    digest = digest_of(a_day(document))
    quakes = [h for h in digest.highlights if "Chile" in h.text]
    assert len(quakes) == 1
    assert set(quakes[0].document_ids) == {"d1", "d2", "d3", "d4", "d5"}
    assert digest.highlights[0] is quakes[0], "what five sources carry leads"


@pytest.mark.parametrize("liked", ["Author 10", "author  10", "site10.example"])
def test_an_author_or_site_that_the_user_reads_weighs_more_and_is_told_as_the_reason(
    document: Make, liked: str
) -> None:
    documents = a_day(document)
    author = documents[9]
    assert author.author == "Author 10"

    def place(digest: Digest) -> int:
        cited = [author.id in said.document_ids for said in digest.highlights]
        return cited.index(True) if any(cited) else len(cited)

    plain = digest_of(documents)
    read = digest_of(documents, authors=(liked, "Nobody"))
    assert place(read) < place(plain)
    assert f"author:{liked}" in read.highlights[place(read)].why
    assert "author:" not in str([said.why for said in plain.highlights])


def test_only_what_others_write_about_too_is_called_representative(document: Make) -> None:
    alike = [
        document(
            "The Castle bridge needs repairs, as trucks cracked its pillars.", title="Castle bridge"
        ),
        document("Villagers pay for repairs of the Mill bridge themselves.", title="Mill bridge"),
    ]
    documents = [*(document(text, title=title) for title, text in NEWS.items()), *alike]
    digest = digest_of(documents, max_highlights=len(documents))
    why = {said.document_ids[0]: said.why for said in digest.highlights}
    shared = {one.id for one in alike}
    assert why == {
        one.id: ("representative" if one.id in shared else "distinct",) for one in documents
    }
    (alone,) = digest_of([document(NEWS["Comet seen"])]).highlights
    assert alone.why == ("distinct",)


def test_a_sentence_is_not_told_again_with_other_numbers(document: Make) -> None:
    votes = [
        document(
            f"{to}The council approved a night train to the coast with {n} votes. {rest}",
            title=f"Council on {rest.split()[-1]}",
        )
        for to, n, rest in (
            ("", 14, "Karl Meier spoke against it for the Greens in Innsbruck."),
            ("@jane ", 87, "Tickets are 59 crowns, says Operator Nordbahn in Malmö."),
            ("", 46, "On Sundays the first one leaves at 6.15 from Platform Nine."),
        )
    ]
    others = [document(text, title=title) for title, text in list(OTHERS.items())[:3]]
    digest = digest_of([*votes, *others])
    told = [h for h in digest.highlights if "approved a night train" in h.text]
    assert len(told) == 1
    assert len(digest.highlights) == 4


def test_a_reply_is_told_without_those_whom_it_speaks_to(document: Make) -> None:
    said = "Researchers found a critical vulnerability in the document parser of Inkpress."
    post = document(f"@jane @bob_2: {said}", author="ada", source="x")
    digest = digest_of([post])
    assert digest.highlights[0].text == f"ada: {said}"
    assert digest.confidence == 1.0  # it stands there word for word


def test_no_two_highlights_rest_on_the_same_document(document: Make) -> None:
    cited = Counter(i for h in digest_of(a_day(document)).highlights for i in h.document_ids)
    assert set(cited.values()) == {1}


def test_copies_that_differ_only_in_their_furniture_are_one_story(document: Make) -> None:
    text = (
        OTHERS["New battery factory"] + " Production of the cells starts in 2028, the company said."
    )
    documents = [
        document(text, title="Sodium cells from Leipzig"),
        document(f"{text}\n\nThe post Sodium cells from Leipzig appeared first on Cells Daily."),
        document(f"{text} Read more →", url="https://example.org/?utm_source=x"),
    ]
    highlights = digest_of(documents).highlights
    assert len(highlights) == 1
    assert len(highlights[0].document_ids) == 3
    assert "appeared first" not in highlights[0].text


def test_a_post_that_links_to_an_article_belongs_to_its_story(document: Make) -> None:
    article = document(
        "The council voted to close the old harbour bridge for repairs that will take two years.",
        title="Harbour bridge closes",
        url="https://news.example/harbour-bridge?utm_medium=feed",
    )
    post = document(
        "So the harbour bridge will be gone for two years: https://www.news.example/harbour-bridge",
        source="x",
        url="https://x.com/anna/1",
    )
    other = document(OTHERS["Otters are back"], title="Otters are back")
    stories = [set(h.document_ids) for h in digest_of([article, post, other]).highlights]
    assert {article.id, post.id} in stories


def test_a_roundup_does_not_swallow_the_stories_that_it_links_to(document: Make) -> None:
    articles = [
        document(text, title=title, url=f"https://news.example/{n}")
        for n, (title, text) in enumerate(OTHERS.items())
    ]
    roundup = document(
        "Five links for the weekend.\n"
        + "\n".join(f"- https://news.example/{n}" for n in range(6)),
        title="Weekend links",
    )
    digest = digest_of([*articles, roundup])
    assert all(len(h.document_ids) == 1 for h in digest.highlights)


def test_the_sentence_that_carries_the_story_is_found_in_the_middle(document: Make) -> None:
    key = (
        "The regulator fined Halden Bank 40 million euros for hiding losses in its shipping loans."
    )
    text = (
        "It was a grey morning in the capital, and the coffee was cold. "
        "Reporters had been waiting since six, as they often do. "
        "Nobody was in the mood to talk about the weather any more. "
        f"{key} "
        "Shipping loans had been the bank's pride, and the losses on the loans were hidden for years. "
        "The regulator began to look at Halden Bank in spring. "
        "Then everyone went home, and the street was quiet again."
    )
    only = document(text, title="Regulator fines Halden Bank over hidden shipping losses")
    digest = digest_of([only, document(OTHERS["Bakery prize"], title="Bakery prize")])
    told = next(h for h in digest.highlights if h.document_ids == (only.id,))
    assert key in told.text


def test_one_chatty_author_does_not_fill_the_digest(document: Make) -> None:
    subjects = [
        "harbour",
        "bakery",
        "theatre",
        "stadium",
        "library",
        "orchard",
        "tunnel",
        "lighthouse",
        "brewery",
        "aquarium",
    ]
    chatty = [
        document(
            f"The {subject} of the old town will be rebuilt with {n} new halls and a garden by 2030.",
            author="Chatty",
            title=f"Plans for the {subject}",
        )
        for n, subject in enumerate(subjects * 3)
    ]
    quiet = [document(text, title=title) for title, text in OTHERS.items()]
    highlights = digest_of(chatty + quiet).highlights
    authors = {d.id: d.author for d in chatty + quiet}
    told = Counter(authors[h.document_ids[0]] for h in highlights)
    assert told["Chatty"] <= 2
    assert len(highlights) == 7


def test_an_author_who_is_alone_may_fill_the_digest(document: Make) -> None:
    alone = [document(text, title=title, author="Solo") for title, text in OTHERS.items()]
    assert len(digest_of(alone).highlights) == len(OTHERS)


def test_texts_about_one_thing_do_not_crowd_out_the_rest(document: Make) -> None:
    same = [
        document(f"{QUAKE[0]} Our reporter number {n} saw {place}.", author="One Agency")
        for n, place in enumerate(["broken roads", "calm ports", "open schools", "full trains"])
    ]
    rest = [document(text, title=title) for title, text in OTHERS.items()]
    digest = digest_of(same + rest, max_highlights=4)
    assert sum("magnitude" in h.text for h in digest.highlights) <= 1


def test_response_beyond_what_the_author_is_used_to_lifts_a_story(document: Make) -> None:
    loud = [
        document(text, title=title, author="Star", engagement=9_000 + n)
        for n, (title, text) in enumerate(list(NEWS.items())[:4])
    ]
    modest = [
        document(
            f"Some words on the village and its {word} in winter.", author="Villager", engagement=2
        )
        for word in ("mill", "pond", "inn", "well")
    ]
    hit = document(
        "The village mill was saved from demolition by twelve neighbours with a rope.",
        author="Villager",
        engagement=400,
    )
    digest = digest_of([*loud, *modest, hit])
    assert hit.id in digest.highlights[0].document_ids
    assert "Far more response than usual" in digest.sections["trending"].text


def test_advertising_stays_out_while_there_is_anything_else(document: Make) -> None:
    ad = document(
        "Use promo code DEAL and get 30% off our mattress, the softest mattress ever made.",
        title="[Sponsor] Softest mattress",
    )
    documents = [ad, *(document(text, title=title) for title, text in OTHERS.items())]
    digest = digest_of(documents)
    cited = {i for h in digest.highlights for i in h.document_ids}
    assert ad.id not in cited
    assert ad.id not in digest.sections.get("important", digest.highlights[0]).document_ids
    assert digest_of([ad]).highlights[0].document_ids == (ad.id,)


def test_what_an_author_says_under_every_text_is_not_quoted(document: Make) -> None:
    footer = "My channel is about cooking with honest people and good pans since the year 2011."
    documents = [
        document(f"{footer}\n{text}", title=title, author="Cook") for title, text in OTHERS.items()
    ]
    assert all(footer not in h.text for h in digest_of(documents).highlights)


def test_questions_furniture_and_code_are_not_quoted(document: Make) -> None:
    text = (
        "What do you think about all of this, dear readers of our little page?\n"
        "Subscribe to our newsletter so that you never miss any of our great posts.\n"
        "```\nfor document in documents: summarise(document, name=textrank)\n```\n"
        "const total = documents.map(d => d.length).reduce((a, b) => a + b, 0);\n"
        "We use cookies to make this site work and to show you better content.\n"
        "The ferry to the island of Hven sails again after a winter in the dry dock.\n"
        "Sent from my phone while I was walking through the park with a dog."
    )
    (highlight,) = digest_of([document(text)]).highlights
    assert highlight.text == (
        "Author 1: The ferry to the island of Hven sails again after a winter in the dry dock."
    )


def test_a_title_leads_unless_the_sentence_says_it_anyway(document: Make) -> None:
    echo = document(
        "Train drivers end their strike after three weeks and accept nine percent more pay.",
        title="Train drivers end their strike",
    )
    new = document(
        "The most since counting began in 1974, said the biologists.", title="Otters are back"
    )
    texts = {h.document_ids[0]: h.text for h in digest_of([echo, new]).highlights}
    assert texts[echo.id].startswith("Train drivers end their strike after")
    assert texts[new.id].startswith("Otters are back — ")


def test_highlights_are_short_and_cut_between_words(document: Make) -> None:
    long = "The committee " + "considered another carefully worded proposal and " * 7 + "went home."
    (highlight,) = digest_of([document(long, title="Long " * 60)]).highlights
    assert len(highlight.text) <= 300
    assert highlight.text.endswith("…")
    assert f"{highlight.text[:-1].split()[-1]} " in long


def test_the_best_document_of_a_story_is_cited_first(document: Make) -> None:
    documents = a_day(document)
    documents[3] = replace(documents[3], engagement=5_000)
    documents = [replace(d, engagement=d.engagement or 5) for d in documents]
    lead = digest_of(documents).highlights[0]
    quoted = next(d for d in documents if d.id == lead.document_ids[0])
    assert lead.text.rpartition(" — ")[2].split(". ")[0] in quoted.text


def test_the_same_documents_give_the_same_digest_in_any_order(document: Make) -> None:
    documents = a_day(document)
    first = digest_of(documents)
    for seed in range(5):
        shuffled = documents.copy()
        random.Random(seed).shuffle(shuffled)
        assert digest_of(shuffled) == first


def test_the_digest_does_not_depend_on_the_process() -> None:
    code = (
        "from datetime import UTC, datetime\n"
        "from distill_grpc.llm.base import Document, DigestRequest\n"
        "from distill_grpc.llm.offline import summarise\n"
        f"texts = {list(OTHERS.values()) + QUAKE!r}\n"
        "at = datetime(2026, 11, 20, tzinfo=UTC)\n"
        "docs = [Document(id=str(i), source='x', author=f'a{i % 4}', title='', text=t, url='',"
        " published_at=at) for i, t in enumerate(texts)]\n"
        "print(summarise(DigestRequest(documents=docs)))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("title", "text", "shown"),
    [
        ("Only a title", "", "Author 1: Only a title"),
        ("", "ok", "Author 1: ok"),
        ("", "👍🏽👍🏽", "Author 1: 👍🏽👍🏽"),
        ("", "https://example.org/x", "Author 1: https://example.org/x"),
        ("", "", "Author 1: (no text)"),
        ("A title", "Why?", "Author 1: A title"),
    ],
)
def test_a_document_with_next_to_nothing_is_told_by_what_it_has(
    document: Make, title: str, text: str, shown: str
) -> None:
    digest = digest_of([document(text, title=title)])
    assert [h.text for h in digest.highlights] == [shown]
    assert digest.sections == {}


def test_identical_documents_are_one_story(document: Make) -> None:
    documents = [document(QUAKE[0], title="Quake", author="Bot") for _ in range(30)]
    digest = digest_of(documents)
    assert len(digest.highlights) == 1
    assert len(digest.highlights[0].document_ids) == 30
    assert digest.highlights[0].text.startswith("Quake — A strong earthquake")


def test_a_repeated_id_counts_once(document: Make) -> None:
    one = document(QUAKE[0], title="Quake")
    assert digest_of([one, one]).highlights[0].document_ids == (one.id,)


def test_a_very_long_document_is_digested_from_its_sentences(document: Make) -> None:
    filler = " ".join(
        f"Paragraph {n} of the report lists more of the very same tables." for n in range(1_700)
    )
    digest = digest_of([document(filler, title="The yearly report")])
    assert len(digest.highlights) == 1
    assert digest.confidence == 1.0


def test_the_model_and_the_confidence_are_told(document: Make) -> None:
    digest = digest_of(a_day(document))
    assert digest.model == "textrank"
    assert digest.confidence == 1.0


@pytest.mark.parametrize(
    ("title", "text", "quoted"),
    [
        (
            "Neue Brücke",
            "Was denken Sie? Die neue Brücke über die Elbe wird am 3. Oktober z. B. für Radfahrer geöffnet.",
            "Die neue Brücke über die Elbe wird am 3. Oktober z. B. für Radfahrer geöffnet.",
        ),
        (
            "Grève",
            "Lire la suite. Les conducteurs de train ont accepté une hausse de salaire de 9 %.",
            "Les conducteurs de train ont accepté une hausse de salaire de 9 %.",
        ),
        (
            "地震",
            "北海道で強い地震があり、列車が止まりました。どう思いますか?\n気象庁は津波の心配はないと発表しています。",
            "北海道で強い地震があり、列車が止まりました。",
        ),
        (
            "زلزال",
            "ضرب زلزال قوي ساحل شمال تشيلي صباح يوم الجمعة دون وقوع ضحايا. هل تعلم؟",
            "ضرب زلزال قوي ساحل شمال تشيلي صباح يوم الجمعة دون وقوع ضحايا.",
        ),
    ],
)
def test_quotes_stay_in_the_language_of_the_document(
    document: Make, title: str, text: str, quoted: str
) -> None:
    documents = [document(text, title=title), document(OTHERS["Otters are back"], title="Otters")]
    texts = [h.text for h in digest_of(documents).highlights]
    assert any(quoted in t for t in texts), texts


def test_no_documents_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        digest_of([])


def test_no_highlights_is_an_error(document: Make) -> None:
    with pytest.raises(ValueError, match="at least one highlight"):
        digest_of([document("Text.")], max_highlights=0)


async def test_the_event_loop_goes_on_while_a_digest_is_made(document: Make) -> None:
    documents = [
        document(
            f"{text} It was case number {n} of the {title.lower()} kind.", title=f"{title} {n}"
        )
        for n in range(40)
        for title, text in OTHERS.items()
    ]
    task = asyncio.create_task(OfflineSummariser().digest(DigestRequest(documents=documents)))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert task.result().highlights
    assert turns > 5


async def test_a_cancelled_digest_stops_working(document: Make) -> None:
    documents = [document(f"{QUAKE[n % 5]} {n} {n * 7}", title=f"Quake {n}") for n in range(4_000)]
    task = asyncio.create_task(OfflineSummariser().digest(DigestRequest(documents=documents)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    before = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - before < 0.15, "the thread still works"


WORDS = st.sampled_from(
    [
        "The",
        "the",
        "a",
        "server",
        "release",
        "bank",
        "river",
        "Chile",
        "said",
        "that",
        "will",
        "new",
        "open",
        "3.5",
        "Dr.",
        "e.g.",
        "U.S.",
        "is",
        "was",
        "for",
        "“quoted”",
        "https://example.org/a?b=c",
        "#tag",
        "@name",
        "日本語のテキスト。",
        "число",
        "кошка",
        "👩\u200d👩\u200d👧",
        "(aside)",
        "—",
        "…",
        "[link](https://x.example)",
        "**bold**",
        ">",
        "```",
        "--",
        "\n",
        "\n\n",
        ".",
        "!",
        "?",
        ":",
        ";",
        "\u202e",
        "\x07",
        "�",
        "é",
        "İ",
        "ß",
    ]
)
TEXTS = st.lists(WORDS, max_size=60).map(" ".join) | st.text(max_size=200)
DOCUMENTS = st.lists(
    st.builds(
        Document,
        id=st.uuids().map(str),
        source=st.sampled_from(["rss", "x", "email"]),
        author=st.sampled_from(["", "Ann", "Bob", "ANN "]) | st.text(max_size=5),
        title=TEXTS,
        text=TEXTS,
        url=st.sampled_from(["", "https://a.example/1", "https://[bad", "x"]),
        published_at=st.integers(0, 90_000).map(lambda s: NOON + timedelta(seconds=s)),
        engagement=st.sampled_from([0.0, 1.0, 50.0, 1e12, -3.0, float("inf"), float("nan")]),
        language=st.sampled_from(["", "en", "de-AT", "xx"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda d: d.id,
)


def squeezed(text: str) -> str:
    """Two sentences may have stood on two lines."""
    return "".join(text.split())


@settings(max_examples=120, deadline=None)
@given(documents=DOCUMENTS, most=st.integers(1, 9))
def test_every_highlight_is_verbatim_short_and_cited(documents: list[Document], most: int) -> None:
    digest = digest_of(documents, max_highlights=most, mentions=("@name", "Ann"))
    by_id = {d.id: d for d in documents}
    assert 1 <= len(digest.highlights) <= most
    for statement in [*digest.highlights, *digest.sections.values()]:
        assert statement.document_ids
        assert len(set(statement.document_ids)) == len(statement.document_ids)
        assert set(statement.document_ids) <= by_id.keys()
        statement.text.encode()  # no lone surrogate
        assert "\n" not in statement.text
    for highlight in digest.highlights:
        assert len(highlight.text) <= 300
        cited = by_id[highlight.document_ids[0]]
        told = highlight.text.removesuffix("…").removesuffix("(no text)")
        author = " ".join(cited.author.split())
        told = told.removeprefix(f"{author}: ") if author else told
        title = clean_title(cited.title, cited.author)
        said = " ".join(clean_text(cited.text).split())
        splits = [told.split(" — ", n) for n in range(told.count(" — ") + 1)]
        pairs = [(" — ".join(parts[:-1]), parts[-1]) for parts in splits]
        assert told in title or any(
            head.removesuffix("…") in title and squeezed(rest) in squeezed(said)
            for head, rest in pairs
        ), (told, title, said)
    assert digest.confidence in {0.0, 1.0}
