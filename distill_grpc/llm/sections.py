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
from distill_grpc.llm.reading import Reading
from distill_grpc.llm.selection import form, worth_telling
from distill_grpc.llm.signals import Signal, strongest
from distill_grpc.llm.wording import Telling, cut, heading, tell, unaddressed

_TRENDS = 2  # matters told under `trending`
_VOICES = 3  # voices that make a topic a trend; of one and the same story two do
_OUTSTANDING = 2.5  # doublings of engagement over what is usual
_URGENT = 2  # stories told under `important`
_OWN = 3  # … under a section of the user's own
_CITED = 50
_NAMED = 2  # words that name a topic
_QUOTE = 220  # characters


@dataclass(frozen=True, slots=True)
class _Trend:
    """A story that several voices tell, or the words that their different stories share."""

    entry: Ranked  # the best story of it
    stories: list[Story]
    tellers: list[Reading]  # those who are counted and cited
    doublings: float
    topic: str = ""  # "": one story

    @property
    def voices(self) -> int:
        """How many tell it."""
        return len({teller.voice for teller in self.tellers})


def trending(
    ranked: Sequence[Ranked],
    told: Sequence[Ranked],
    doublings: dict[str, float],
    tokeniser: Tokeniser,
) -> Telling | None:
    """What several voices write about, or what drew far more response than its author is used to."""
    in_highlights = {entry.story.number for entry in told}
    tellings: dict[str, Telling] = {}
    for trend in _trends(ranked, doublings, tokeniser):
        known = bool(in_highlights & {story.number for story in trend.stories})
        telling = _tell_trend(trend, tokeniser, known=known)
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


def _trends(
    ranked: Sequence[Ranked], doublings: dict[str, float], tokeniser: Tokeniser
) -> list[_Trend]:
    topics: dict[int, _Trend | None] = {}
    trends: list[_Trend] = []
    by_number = {entry.story.number: entry for entry in ranked}
    for entry in ranked:
        story = entry.story
        first = (story.matter or [story])[0].number
        if first not in topics:
            topics[first] = _topic(story.matter, by_number, doublings, tokeniser)
        response = max(doublings.get(reading.id, 0.0) for reading in story.readings)
        if topics[first] is None and (len(story.voices) > 1 or response >= _OUTSTANDING):
            trends.append(_Trend(entry, [story], story.readings, response))
    trends += [topic for topic in topics.values() if topic is not None]
    return sorted(trends, key=lambda t: (-t.voices - t.doublings / 2, t.stories[0].number))


def _topic(
    matter: list[Story],
    by_number: dict[int, Ranked],
    doublings: dict[str, float],
    tokeniser: Tokeniser,
) -> _Trend | None:
    """What enough voices have in common who tell different stories; None where one story is told by many."""
    voices = {voice for story in matter for voice in story.voices}
    if len(voices) < _VOICES or max(len(story.voices) for story in matter) >= _VOICES:
        return None
    shared = _shared_words([reading for story in matter for reading in story.readings], tokeniser)
    if not shared or len(shared[0].tellers) < _VOICES:
        return None
    ids = shared[0].tellers.keys()
    named = [word.spelling for word in shared if word.tellers.keys() == ids]
    stories = [s for s in matter if any(reading.voice in ids for reading in s.readings)]
    entries = [by_number[s.number] for s in stories if s.number in by_number]
    if not entries:
        return None
    return _Trend(
        entry=max(entries, key=lambda e: (e.worth, -e.story.number)),
        stories=stories,
        tellers=[reading for told in shared[0].tellers.values() for reading in told],
        doublings=max(doublings.get(r.id, 0.0) for e in entries for r in e.story.readings),
        topic=" and ".join(named[:_NAMED]),
    )


def _tell_trend(trend: _Trend, tokeniser: Tokeniser, *, known: bool) -> Telling:
    ids = {teller.id for teller in trend.tellers}
    quotable = next((c for c in trend.entry.candidates if c.reading.id in ids), None)
    reading = quotable.reading if quotable else trend.tellers[0]
    titled = [teller for teller in (reading, *trend.tellers) if teller.title and not trend.topic]
    named = max(titled, key=lambda teller: teller.weight, default=None)
    if trend.voices > 1:
        kind = "authors" if all(r.document.author.strip() for r in trend.tellers) else "sources"
        subject = f"“{heading(named)}”" if named else trend.topic or _subject(trend, tokeniser)
        start = f"{trend.voices} {kind} write about {subject}"
    elif named:
        start = f"Far more response than usual: “{heading(named)}”"
    else:
        start = f"Far more response than usual for {cut(reading.voice, 60)}"
    cited = dict.fromkeys(r.id for r in (reading, named, *trend.tellers) if r)
    quotes = [(named.id, heading(named).removesuffix("…"))] if named else []
    text = f"{start}."
    if quotable and not known:
        quote = cut(unaddressed(quotable.text), _QUOTE)
        quotes.append((reading.id, quote.removesuffix("…")))
        text = f"{start}: {quote}"
    return Telling(text=text, document_ids=tuple(cited)[:_CITED], quotes=tuple(quotes))


def _subject(trend: _Trend, tokeniser: Tokeniser) -> str:
    """What untitled texts have in common: the words that most voices use."""
    shared = [word for word in _shared_words(trend.tellers, tokeniser) if len(word.tellers) > 1]
    return " and ".join(word.spelling for word in shared[:_NAMED]) or "the same"


@dataclass(frozen=True, slots=True)
class _Word:
    """A word as it is mostly written, and who uses it where, by voice."""

    spelling: str
    tellers: dict[str, list[Reading]]


def _shared_words(readings: Sequence[Reading], tokeniser: Tokeniser) -> list[_Word]:
    """The words of the texts, those that most voices use first."""
    users: dict[str, dict[str, list[Reading]]] = {}
    spellings: dict[str, Counter[str]] = {}
    for reading in readings:
        for term in reading.bag:
            users.setdefault(term, {}).setdefault(reading.voice, []).append(reading)
        text = " ".join((reading.title, *reading.lead))
        for spelling in re.findall(r"[#@]?\w[\w'\u2019.-]*\w|\w", text):
            for term in tokeniser.terms(spelling, reading.language):
                spellings.setdefault(term, Counter())[spelling.strip("#@")] += 1
    found: dict[str, _Word] = {}
    for term in sorted(users, key=lambda t: (-len(users[t]), -len(t), t)):
        if term in spellings:
            spelling = spellings[term].most_common(1)[0][0]
            if any(map(str.isalpha, spelling)) and words(spelling):
                found.setdefault(spelling, _Word(spelling, users[term]))
    return list(found.values())


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
