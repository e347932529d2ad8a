"""Which sentences can stand alone in a digest, and how well."""

from __future__ import annotations

import re

from distill_grpc.llm.furniture import is_furniture
from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import leans_on_context, writes_no_spaces
from distill_grpc.llm.sentences import CLOSING, OPENING

MAX_LENGTH = 420  # characters; longer ones are lists and legal texts, not sentences

_CODE = re.compile(
    r"""[{};]\s*$ | => | -> | :: | [=!]= | \w\(\) | </?\w+[^>]{0,80}> | \$\( | && | \|\| | \w+\.\w+\( | \\n
    | \b\w+_\w+_\w+\b
    | ^\s*(?:\$\  | >>> | import\ \w | from\ \w+\ import | sudo\  | pip\ install | npm\  | git\  | curl\ )
    | ^\s*(?:def\ \w+\( | function\ \w*\( | const\ \w+\ =)""",
    re.VERBOSE,
)
# Two of them make a list of chapters, or a timetable.
_CLOCK = re.compile(r"\b\d{1,3}:\d\d\b")
_FIRST_PERSON = re.compile(r"(?:I|My|Me|Ich|Mein\w*|Je|J['\u2019]|Mon|Yo|Io|Eu|Ik)\b")
_POINTING = re.compile(
    r"\b(?:he|she|they|it|him|his|her|them|their|this|these|those)\b", re.IGNORECASE
)


def fitness(sentence: str) -> float:
    """How well a sentence stands alone, 0 (not at all) to 1.

    0 are questions to the reader, code, furniture of pages and mails, instructions to models, scraps
    and walls of text.
    """
    letters = sum(map(str.isalpha, sentence))
    wide = writes_no_spaces(sentence)
    count = letters if wide else len(sentence.split())
    fewest, most = (10, 200) if wide else (5, 75)
    if not fewest <= count <= most or len(sentence) > MAX_LENGTH:
        return 0.0
    # Marks are letters' parts in many scripts, hence the low bound.
    if letters < 0.5 * len(sentence) or _is_scrap(sentence) or is_furniture(sentence):
        return 0.0
    if addresses_a_model(sentence):
        return 0.0
    return _length_worth(count, wide=wide) * _form_worth(sentence, letters)


def _is_scrap(sentence: str) -> bool:
    bare = sentence.rstrip(CLOSING)
    if bare.endswith(("?", "？", "؟")):  # noqa: RUF001 -- question marks of other scripts
        return True
    return _CODE.search(sentence) is not None or len(_CLOCK.findall(sentence)) > 1


def _length_worth(count: int, *, wide: bool) -> float:
    good_from, good_to = (24, 90) if wide else (14, 36)
    if count < good_from:
        return 0.3 + 0.7 * count / good_from
    if count > good_to:
        return max(0.5, 1 - 0.5 * (count - good_to) / good_to)
    return 1.0


def _form_worth(sentence: str, letters: int) -> float:
    worth = 1.0
    bare = sentence.rstrip(CLOSING)
    if leans_on_context(sentence):
        worth *= 0.6
    elif _FIRST_PERSON.match(sentence) or _POINTING.search(sentence, 0, 40):
        worth *= 0.8
    head = sentence.lstrip(OPENING)[:2]
    # Letters after a greeting and hasty posts begin so, list items too; `iPhone` may.
    if head[:1].islower() and not head[1:].isupper():
        worth *= 0.6
    if bare.endswith((":", ",", ";", "…", "...")):
        worth *= 0.45
    elif bare[-1:].isalnum():
        worth *= 0.6  # a headline, a list item, or cut off
    if sum(map(str.isupper, sentence)) > 0.4 * letters:
        worth *= 0.3
    if sentence.count("(") != sentence.count(")") or sentence.count("“") != sentence.count("”"):
        worth *= 0.6
    if sentence[0] in OPENING:
        worth *= 0.75
    if bare.endswith("!"):
        worth *= 0.85
    return worth
