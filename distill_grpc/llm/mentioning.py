"""Where others name the user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from distill_grpc.llm.furniture import is_furniture, is_greeting
from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import GLUED
from distill_grpc.llm.reading import Checkpoint, Reading, sentences_of
from distill_grpc.llm.wording import Telling, cut, heading

_QUOTED = 3  # mentions that are quoted
_CITED = 50
_SEARCHED = 20_000  # characters of a document that are searched
_QUOTE = 220  # characters


def find_mentions(
    readings: Sequence[Reading], names: Sequence[str], checkpoint: Checkpoint
) -> list[Reading]:
    """The documents of others that name the user, in the given order.

    A name with `@` is found with its sign only, any other with and without.
    """
    pattern = _mention_pattern(names)
    if pattern is None:
        return []
    own = {" ".join(name.split()).lstrip("@").casefold() for name in names}
    starts = tuple({name.split(" ")[0] for name in own if len(name) > 1})
    found = []
    for reading in readings:
        checkpoint()
        document = reading.document
        if document.author.strip().lstrip("@").casefold() in own:
            continue
        whole = f"{document.title}\n{document.text[:_SEARCHED]}"
        folded = whole.casefold()
        # The plain look first: it is many times quicker than the pattern.
        if any(start in folded for start in starts) and pattern.search(whole):
            found.append(reading)
    return found


def tell_mentions(naming: Sequence[Reading], names: Sequence[str]) -> Telling | None:
    """What `find_mentions` found, the weightiest quoted; None where nothing can be."""
    pattern = _mention_pattern(names)
    if pattern is None:
        return None
    found = [
        (reading, sentence)
        for reading in naming
        if (sentence := _mentioning(reading, pattern)) or pattern.search(reading.title)
    ]
    if not found:
        return None
    found.sort(key=lambda pair: (-pair[0].weight, pair[0].id))
    parts, quotes = [], []
    unlike = {(reading.title, sentence): reading for reading, sentence in reversed(found)}
    shown = [(reading, said) for (_, said), reading in reversed(unlike.items())][:_QUOTED]
    for reading, sentence in shown:
        part, quoted = _tell_mention(reading, sentence, pattern)
        parts.append(part)
        quotes.append((reading.id, quoted))
    text = f"You were mentioned {'; '.join(parts)}"
    if len(found) > len(shown):
        text += f"; and in {len(found) - len(shown)} more"
    ids = tuple(reading.id for reading, _ in found[:_CITED])
    return Telling(text=text, document_ids=ids, quotes=tuple(quotes))


def _mention_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    handles = _spelt(name for name in names if name.startswith("@"))
    others = _spelt(name for name in names if not name.startswith("@"))
    if not handles and not others:
        return None
    # Not inside a word, a longer handle, an address or a host; scripts without spaces may adjoin.
    before = rf"(?:(?<![\w.+-])|(?<={GLUED}))"
    after = rf"(?:(?![\w@]|[-.]\w)|(?={GLUED}))"
    # A handle needs its sign: `@will` is a person, `will` hardly ever.
    ways = [rf"{before}@(?:{'|'.join([*handles, *others])})"]
    if others:
        ways.append(rf"(?<!@){before}(?:{'|'.join(others)})")
    return re.compile(rf"(?:{'|'.join(ways)}){after}", re.IGNORECASE)


def _spelt(names: Iterable[str]) -> list[str]:
    """Patterns for names, longest first; white space in them may be any."""
    bare = {" ".join(name.split()).lstrip("@") for name in names}
    ordered = sorted((name for name in bare if len(name) > 1), key=lambda n: (-len(n), n))
    return [r"\s+".join(map(re.escape, name.split(" "))) for name in ordered]


def _mentioning(reading: Reading, pattern: re.Pattern[str]) -> str:
    for sentence in sentences_of(reading, limit=_SEARCHED):
        if (
            pattern.search(sentence)
            and not is_furniture(sentence)
            and not is_greeting(sentence)
            and not addresses_a_model(sentence)
        ):
            return sentence
    return ""


def _tell_mention(reading: Reading, sentence: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    author = " ".join(reading.document.author.split())
    where = f"by {cut(author, 60)}" if author else f"at {reading.voice}"
    if reading.title:
        where += f" in “{heading(reading)}”"
    if not sentence:
        return where, reading.title
    found = pattern.search(sentence)
    # A long sentence is shown from a little before the name.
    begin = 0
    if found and found.end() > _QUOTE - 20:
        begin = sentence.rfind(" ", 0, max(0, found.start() - 80)) + 1
    quote = cut(sentence[begin:], _QUOTE)
    return f"{where}: “{'…' if begin else ''}{quote}”", quote.removesuffix("…")
