"""The named paragraphs of a digest; each is there only where it has something to say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from distill_grpc.llm.base import OwnSection
from distill_grpc.llm.clustering import Story
from distill_grpc.llm.languages import Tokeniser, words
from distill_grpc.llm.matching import matches
from distill_grpc.llm.ranking import Candidate, Ranked
from distill_grpc.llm.selection import form, worth_telling
from distill_grpc.llm.signals import Signal, strongest
from distill_grpc.llm.wording import Telling, cut, heading, tell, unaddressed

_TRENDS = 2  # matters told under `trending`
_VOICES = 3  # voices that make a looser matter a trend; of one and the same story two do
_OUTSTANDING = 2.5  # doublings of engagement over what is usual
_URGENT = 2  # stories told under `important`
_OWN = 3  # … under a section of the user's own
_CITED = 50
_QUOTE = 220  # characters


@dataclass(frozen=True, slots=True)
class _Trend:
    stories: list[Story]
    voices: int
    doublings: float


def trending(
    ranked: Sequence[Ranked],
    told: Sequence[Ranked],
    doublings: dict[str, float],
    tokeniser: Tokeniser,
) -> Telling | None:
    """What several voices write about, or what drew far more response than its author is used to."""
    by_number = {entry.story.number: entry for entry in ranked}
    in_highlights = {entry.story.number for entry in told}
    tellings: dict[str, Telling] = {}
    for trend in _trends(ranked, doublings):
        entry = max(
            (by_number[s.number] for s in trend.stories if s.number in by_number),
            key=lambda e: (e.worth, -e.story.number),
        )
        known = bool(in_highlights & {story.number for story in trend.stories})
        telling = _tell_trend(trend, entry, tokeniser, known=known)
        # Two groups with one name would read as a repetition.
        subject = telling.text.partition(" write about ")[2] or telling.text
        tellings.setdefault(subject, telling)
        if len(tellings) == _TRENDS:
            break
    return _together(list(tellings.values()))


def important(
    ranked: Sequence[Ranked], told: Sequence[Ranked], tokeniser: Tokeniser
) -> Telling | None:
    """What asks to be acted on, else the best story that the highlights left out.

    What a highlight, or another of these, says in the same words is not said again.
    """
    known = {entry.story.number for entry in told}
    left = [entry for entry in worth_telling(ranked) if entry.story.number not in known]
    said = {key for entry in told for key in _said(tell(entry, tokeniser))}
    urgent = [(entry, *found) for entry in left if (found := _signal_of(entry))]
    if urgent:
        urgent.sort(key=lambda u: (-u[1].weight * u[0].worth, u[0].story.number))
        tellings: list[Telling] = []
        for each in urgent:
            telling = _tell_urgent(*each, tokeniser)
            own_words = _said(telling)
            if not own_words & said:
                tellings.append(telling)
                said |= own_words
            if len(tellings) == _URGENT:
                break
        if tellings:
            return _together(tellings)
    left.sort(key=lambda entry: (-entry.worth, entry.story.number))
    others = (tell(entry, tokeniser) for entry in left)
    best = next((telling for telling in others if not _said(telling) & said), None)
    return _with_prefix("Don't miss: ", best) if best else None


def _said(telling: Telling) -> set[str]:
    """The sentences of a telling, by their form."""
    return {form(quote) for _, quote in telling.quotes} - {""}


def own(wanted: OwnSection, ranked: Sequence[Ranked], tokeniser: Tokeniser) -> Telling | None:
    """The best stories that the user's section asks for; nothing where none is of that kind."""
    fitting = [
        entry
        for entry in worth_telling(ranked)
        if any(matches(wanted, reading) for reading in entry.story.readings)
    ]
    fitting.sort(key=lambda entry: (-entry.worth, entry.story.number))
    return _together([tell(entry, tokeniser) for entry in fitting[:_OWN]])


def _tell_urgent(
    entry: Ranked, signal: Signal, said: Candidate | None, tokeniser: Tokeniser
) -> Telling:
    sentences = (
        [said, *(c for c in entry.candidates if c is not said)] if said else entry.candidates
    )
    telling = tell(Ranked(entry.story, sentences, entry.worth), tokeniser)
    return _with_prefix(f"{signal.name}: ", telling)


def _trends(ranked: Sequence[Ranked], doublings: dict[str, float]) -> list[_Trend]:
    trends: dict[int, _Trend] = {}
    for entry in ranked:
        story = entry.story
        matter = story.matter or [story]
        spread = len({voice for other in matter for voice in other.voices})
        response = max(doublings.get(reading.id, 0.0) for reading in story.readings)
        if spread >= _VOICES and len(matter) > 1:
            trends.setdefault(matter[0].number, _Trend(matter, spread, response))
        elif len(story.voices) > 1 or response >= _OUTSTANDING:
            trends.setdefault(story.number, _Trend([story], len(story.voices), response))
    return sorted(trends.values(), key=lambda t: (-t.voices - t.doublings / 2, t.stories[0].number))


def _tell_trend(trend: _Trend, entry: Ranked, tokeniser: Tokeniser, *, known: bool) -> Telling:
    reading = entry.candidates[0].reading if entry.candidates else entry.story.best
    tellers = [teller for story in trend.stories for teller in story.readings]
    named = max(
        (teller for teller in (reading, *tellers) if teller.title),
        key=lambda teller: teller.weight,
        default=None,
    )
    if trend.voices > 1:
        kind = "authors" if all(r.document.author.strip() for r in tellers) else "sources"
        subject = f"“{heading(named)}”" if named else _subject(trend, tokeniser)
        start = f"{trend.voices} {kind} write about {subject}"
    elif named:
        start = f"Far more response than usual: “{heading(named)}”"
    else:
        start = f"Far more response than usual for {cut(reading.voice, 60)}"
    cited = dict.fromkeys(r.id for r in (reading, named, *tellers) if r)
    quotes = [(named.id, heading(named).removesuffix("…"))] if named else []
    text = f"{start}."
    if entry.candidates and not known:
        quote = cut(unaddressed(entry.candidates[0].text), _QUOTE)
        quotes.append((reading.id, quote.removesuffix("…")))
        text = f"{start}: {quote}"
    return Telling(text=text, document_ids=tuple(cited)[:_CITED], quotes=tuple(quotes))


def _subject(trend: _Trend, tokeniser: Tokeniser) -> str:
    """What untitled texts have in common: the words that most voices use."""
    users: dict[str, set[str]] = {}
    spellings: dict[str, Counter[str]] = {}
    for story in trend.stories:
        for reading in story.readings:
            for term in reading.bag:
                users.setdefault(term, set()).add(reading.voice)
            for spelling in re.findall(r"[#@]?\w[\w'\u2019.-]*\w|\w", " ".join(reading.lead)):
                for term in tokeniser.terms(spelling, reading.language):
                    spellings.setdefault(term, Counter())[spelling.strip("#@")] += 1
    shared = sorted(users, key=lambda t: (-len(users[t]), -len(t), t))
    named = [
        spellings[t].most_common(1)[0][0] for t in shared if len(users[t]) > 1 and t in spellings
    ]
    named = list(dict.fromkeys(name for name in named if words(name)))[:2]
    return " and ".join(named) or "the same"


def _together(tellings: Sequence[Telling]) -> Telling | None:
    if not tellings:
        return None
    ids = dict.fromkeys(id_ for telling in tellings for id_ in telling.document_ids)
    return Telling(
        text=" ".join(telling.text for telling in tellings),
        document_ids=tuple(ids),
        quotes=tuple(quote for telling in tellings for quote in telling.quotes),
    )


def _signal_of(entry: Ranked) -> tuple[Signal, Candidate | None] | None:
    """The story's strongest signal, and the sentence that gives it where it is not the title."""
    title = strongest(entry.story.best.title)
    for candidate in entry.candidates[:8]:
        if (signal := strongest(candidate.text)) and (not title or signal.weight > title.weight):
            return signal, candidate
    return (title, None) if title else None


def _with_prefix(prefix: str, telling: Telling) -> Telling:
    return Telling(
        text=prefix + telling.text, document_ids=telling.document_ids, quotes=telling.quotes
    )
