"""Cleaning, sentences and terms: what the digest is made from."""

from __future__ import annotations

import pytest

from distill_grpc.llm.cleaning import clean_text, clean_title, links_in, same_address
from distill_grpc.llm.languages import Tokeniser, guess_language, words
from distill_grpc.llm.sentences import split_sentences
from distill_grpc.llm.standing import fitness
from distill_grpc.llm.wording import cut, unaddressed


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("One\r\ntwo\u2028three", "One\ntwo\nthree"),
        ("  much \t white\u00a0space  ", "much white space"),
        ("zero\u200bwidth, \u202eturned\u202c and \x07bell\ud800", "zerowidth, turned and bell"),
        (
            "See https://www.example.org/a/b?c=d for the details.",
            "See example.org for the details.",
        ),
        ("The whole story: https://t.co/abc https://example.org/x", "The whole story"),
        ("It (https://example.org/x) is here.", "It is here."),
        (
            "Read [the notes](https://example.org/n) and **be quick**.",
            "Read the notes and be quick.",
        ),
        ("![logo](https://example.org/l.png)Hello there.", "Hello there."),
        ("We shipped it #news #tech #ai", "We shipped it"),
        ("This is about #python", "This is about #python"),
        ("# Title\n- first thing\n- second thing", "Title\nfirst thing\nsecond thing"),
        ("Before\n```\ncode = 1\n```\nafter", "Before\nafter"),
        ("An answer.\n\nOn Monday Ann wrote:\n> the question\n> again", "An answer."),
        ("See you.\n-- \nAnn\nHead of Everything", "See you."),
        ("Summary of it. The post A thing appeared first on A Site.", "Summary of it."),
        ("Summary of it [...]", "Summary of it…"),
        ("It took six months. […]", "It took six months."),
        ("“It took six months.” [&#8230;]", "“It took six months.”"),
        ("It cost nine million euros.[^1] The rest", "It cost nine million euros. The rest"),
        ("It cost nine million euros.¹² The rest", "It cost nine million euros. The rest"),
        ("It holds 10³ m² of water", "It holds 10³ m² of water"),
        ("Summary of it. Continue reading A thing →", "Summary of it."),
        ("RT @ann: something was said", "something was said"),
        (
            "This line of a mail was wrapped at seventy-two columns as mails\nonce were, in all places.",
            "This line of a mail was wrapped at seventy-two columns as mails once were, in all places.",
        ),
        ("A family 👩\u200d👩\u200d👧 stays whole.", "A family 👩\u200d👩\u200d👧 stays whole."),
    ],
)
def test_texts_are_cleaned_of_what_nobody_reads(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("title", "author", "clean"),
    [
        ("Re: Fwd: AW: Lunch", "", "Lunch"),
        ("A long day in May | Daily Planet", "Daily Planet", "A long day in May"),
        ("Daily Planet", "Daily Planet", "Daily Planet"),
        ("Two\nlines", "", "Two lines"),
    ],
)
def test_titles_are_cleaned_of_marks_and_names(title: str, author: str, clean: str) -> None:
    assert clean_title(title, author) == clean


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith met Prof. Jones at 3.5 p.m. on Monday.|They spoke for an hour.",
        "J. R. R. Tolkien and R.A. Montgomery wrote it, e.g. in the U.S. in 1998.|It sold well.",
        "He took vitamin C. The cold went away.",
        "The U.S. Navy sailed.|“Really?” he asked, and left.",
        "Version 2.0.1 is at example.org now.|Get it!|iPhone users wait…",
        "See Fig. 3 and No. 5 of vol. 2 for this.|Done.",
        "这是第一句。|这是第二句。|「第三句。」|第四句",
        "هذه جملة.|هل هذا سؤال؟|نعم.",
        "यह पहला वाक्य है।|यह दूसरा है।",
        "First line without an end|Second line",
    ],
)
def test_sentences_end_where_a_reader_would_say(text: str) -> None:
    expected = text.split("|")
    glue = "" if "。" in text else " "
    joined = "\n".join(expected) if "line" in text else glue.join(expected)
    if text.startswith("He took"):
        expected = ["He took vitamin C.", "The cold went away."]
    expected = [e.removeprefix("「").removesuffix("」") if "第三" in e else e for e in expected]
    found = [s.removeprefix("「").removesuffix("」") for s in split_sentences(joined)]
    assert found == expected


def test_german_dates_and_abbreviations_do_not_end_sentences() -> None:
    text = "Am 3. Oktober z. B. öffnet die Brücke bzw. der Tunnel. Danach ist Feierabend."
    assert split_sentences(text, "de") == [
        "Am 3. Oktober z. B. öffnet die Brücke bzw. der Tunnel.",
        "Danach ist Feierabend.",
    ]


def test_a_lone_quotation_mark_is_left_off() -> None:
    assert split_sentences("“This goes on. And it ends here.”") == [
        "This goes on.",
        "And it ends here.",
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "Too short.",
        "What do you think about this new policy of the company?",
        "Subscribe to my channel for more videos about cooking and pans.",
        "This email was sent to ann@example.org because you signed up.",
        "Wir verwenden Cookies, um Ihnen das beste Erlebnis zu bieten.",
        "self.client.fetch(url, timeout=3, retries=4) and then wait for it",
        "12.5 % 33.1 % 45.6 % 77.8 % 99.9 % 10.1 % 20.2 %",
        "word " * 120,
    ],
)
def test_what_cannot_stand_in_a_digest_is_unfit(sentence: str) -> None:
    assert fitness(sentence) == 0


def test_a_sentence_that_leans_on_another_is_less_fit() -> None:
    alone = "The council voted to close the old harbour bridge for two years of repairs."
    leaning = "However, they voted to close the old harbour bridge for two years of repairs."
    assert fitness(leaning) < fitness(alone)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "the bridge will be closed for two years and nobody is happy about it"),
        ("de", "die Brücke wird für zwei Jahre gesperrt und niemand ist darüber froh"),
        ("fr", "le pont sera fermé pendant deux ans et personne ne se réjouit de la nouvelle"),
        ("es", "el puente estará cerrado durante dos años y nadie se alegra de la noticia"),
        ("it", "il ponte sarà chiuso per due anni e nessuno è contento della notizia"),
        ("pt", "a ponte ficará fechada por dois anos e ninguém está feliz com a notícia do dia"),
        ("nl", "de brug gaat voor twee jaar dicht en niemand is blij met het nieuws"),
        ("", "Мост закроют на два года"),
        ("", ""),
    ],
)
def test_the_language_is_guessed_by_its_small_words(code: str, text: str) -> None:
    assert guess_language(words(text)) == code


def test_forms_of_a_word_meet_in_their_stem() -> None:
    terms = Tokeniser().terms("release released releases releasing", "en")
    assert len(set(terms)) == 1


def test_scripts_without_spaces_are_compared_by_pairs_of_characters() -> None:
    assert Tokeniser().terms("北海道で地震", "ja") == ["北海", "海道", "道で", "で地", "地震"]


def test_vowel_signs_stay_in_their_words() -> None:
    assert words("हिन्दी में") == ["हिन्दी", "में"]


def test_addresses_of_one_page_meet() -> None:
    one = same_address("https://www.example.org/a/?utm_source=x&id=7#top")
    assert one == same_address("http://example.org/a?id=7") == "example.org/a?id=7"
    assert same_address("https://[bad") == ""


def test_links_of_a_text_are_pages_not_hosts_or_shorteners() -> None:
    text = "See https://example.org/a, https://t.co/x and https://example.org/."
    assert links_in(text) == ("example.org/a",)


def test_cutting_keeps_what_is_one_character_together() -> None:
    family = "👩\u200d👩\u200d👧"
    assert cut("x" * 5 + family * 3, 9) == "xxxxx…"
    assert cut("word " * 10, 22) == "word word word word…"
    assert cut("e\u0301" * 10, 6) == "e\u0301e\u0301…"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@bob The hall opens.", "The hall opens."),
        ("@bob, @ann: The hall opens.", "The hall opens."),
        ("@bob: the hall opens.", "the hall opens."),
        ("@alice was elected to the board.", "@alice was elected to the board."),
        ("@alice, who won, is on the board.", "@alice, who won, is on the board."),
        ("@bob @alice were elected.", "@bob @alice were elected."),
        ("@tanaka さんが説明した。", "@tanaka さんが説明した。"),
        ("Thanks to @bob.", "Thanks to @bob."),
    ],
)
def test_names_before_a_sentence_go_unless_they_are_its_subject(text: str, told: str) -> None:
    assert unaddressed(text) == told
