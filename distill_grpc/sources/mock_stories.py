"""Stories for mock data: made-up events that several platforms tell about at the same time.

What is told in a stretch of time depends on nothing but that stretch, so that sources which know
nothing of each other tell the same story, each in its own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_STORY_LASTS = 6 * 3600  # seconds
_SHARE_OF_STORIES = 0.45  # of what is told; the rest is everyday talk


@dataclass(frozen=True, slots=True)
class Telling:
    """One way of telling something."""

    title: str
    text: str  # several sentences
    short: str  # a sentence or two
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Story:
    titles: tuple[str, ...]
    facts: tuple[str, ...]
    opinions: tuple[str, ...]
    tags: tuple[str, ...]


_STORIES = (
    _Story(
        (
            "Lantern {n}.0 released with incremental builds",
            "Lantern {n}.0 is out: incremental builds for everyone",
            "What Lantern {n}.0 changes for large projects",
        ),
        (
            "Lantern {n}.0 was released today and makes incremental builds the default.",
            "The release cuts the build time of large projects by about {p} percent.",
            "Plugins that were written for the previous version of Lantern need a small change.",
            "The maintainers of Lantern promise security fixes for the old version for {m} more months.",
        ),
        (
            "Several teams report that the migration took them less than an hour.",
            "Not everybody is happy: the new configuration file breaks older plugins.",
            "It is the largest release of the project in two years.",
        ),
        ("developer tools", "release"),
    ),
    _Story(
        (
            "Outage at Northmoss Cloud takes down storage in two regions",
            "Northmoss Cloud storage outage: what is known so far",
            "Northmoss explains yesterday's storage outage",
        ),
        (
            "Northmoss Cloud lost its object storage in two regions for {m}0 minutes.",
            "According to the status page, an expired certificate stopped the replication service.",
            "About {p} percent of the requests to Northmoss storage failed during the outage.",
            "Customers will get credits for the outage without having to ask for them.",
        ),
        (
            "Engineers praised the open way in which the company wrote about the incident.",
            "It is the third outage of the provider this year, and some customers are leaving.",
            "Certificate renewals remain the most boring way to lose a weekend.",
        ),
        ("cloud", "outage"),
    ),
    _Story(
        (
            "City council approves the night train to the coast",
            "Night trains to the coast return after {m} years",
            "Council votes for the coastal night train",
        ),
        (
            "The city council approved a night train to the coast with {p} votes.",
            "The night train will run {n} times a week from next spring.",
            "Tickets for the coastal night train will start at {m}9 crowns.",
            "Old sleeping cars are being refitted in the workshops by the harbour.",
        ),
        (
            "Commuters worry that the night train will compete with freight for the single track.",
            "Hotel owners on the coast expect a longer season.",
            "Campaigners had asked for the connection for more than a decade.",
        ),
        ("transport", "city"),
    ),
    _Story(
        (
            "Critical vulnerability found in the Inkpress parser",
            "Inkpress users should update now: parser flaw allows code execution",
            "Patch available for the critical Inkpress flaw",
        ),
        (
            "Researchers found a critical vulnerability in the document parser of Inkpress.",
            "A crafted document lets an attacker run code on the Inkpress server.",
            "Version {n}.{m}.1 of Inkpress closes the hole, and all earlier versions are affected.",
            "Scans show that {p} percent of the public Inkpress servers were patched within a day.",
        ),
        (
            "There are first reports of attempts to exploit the flaw.",
            "The parser was rewritten last year, but the old code stayed switched on.",
            "The researchers had reported the problem three months ago.",
        ),
        ("security", "vulnerability"),
    ),
    _Story(
        (
            "Small language model runs on a {n}-year-old phone",
            "Tidewater model brings translation to old phones",
            "A language model small enough for your old phone",
        ),
        (
            "The Tidewater group published a language model that runs on phones without a network.",
            "The Tidewater model needs {m}00 megabytes of memory and answers in under two seconds.",
            "On the usual translation tests it reaches {p} percent of the score of far larger models.",
            "Weights, training data and code of the Tidewater model are free to use.",
        ),
        (
            "Critics say that the tests leave out the languages that need it most.",
            "Clinics in remote places are named as the first users.",
            "The demo on the project's page translates menus and street signs.",
        ),
        ("machine learning", "research"),
    ),
    _Story(
        (
            "Heat pumps overtake gas boilers in new buildings",
            "New buildings: {p} percent now heat with heat pumps",
            "Heat pumps win the new-build market",
        ),
        (
            "For the first time, more new buildings were fitted with heat pumps than with gas boilers.",
            "The share of heat pumps in new buildings rose to {p} percent in the last quarter.",
            "Installers say that waiting times for heat pumps have fallen to {m} weeks.",
            "The subsidy for heat pumps stays in place for another {n} years.",
        ),
        (
            "Electricity prices decide how quickly old buildings will follow.",
            "Neighbourhoods with shared ground loops report the lowest bills.",
            "The grid operator sees no bottleneck before the end of the decade.",
        ),
        ("energy", "housing"),
    ),
)

_EVERYDAY = (
    _Story(
        ("Notes on code review, part {n}", "How we review code in a team of {m}"),
        (
            "We changed the way we review code, and small changes now wait less than {m} hours.",
            "Reviews are shorter when the description says what was not done.",
            "A checklist with {n} questions replaced our style guide.",
        ),
        ("Your team may need other questions.", "The numbers come from {p} changes."),
        ("code review",),
    ),
    _Story(
        ("A bread that needs {m} hours and no kneading", "Rye for beginners"),
        (
            "This rye bread rests for {m} hours and needs no kneading.",
            "Use {p} grams of water for every hundred grams of flour.",
            "Let it cool completely before you cut it, however hard that is.",
        ),
        ("It keeps for a week.", "The crust is the best part."),
        ("cooking",),
    ),
    _Story(
        ("Profiling a slow query", "From {m} seconds to {n} milliseconds"),
        (
            "A report took {m} seconds because the planner expected {n} rows and got a million.",
            "Extended statistics on two columns were enough to change the plan.",
            "We kept the old query beside the new one for a week and compared the answers.",
        ),
        ("An index would have helped as well, at a price.", "Read the plan before you guess."),
        ("databases",),
    ),
    _Story(
        ("Minutes of the planning meeting", "Plan for the next {n} weeks"),
        (
            "We agreed to move the launch by {n} weeks and to cut two features.",
            "The budget for travel is used up to {p} percent.",
            "Sofia takes over the contact with the printers from next month.",
        ),
        ("Open questions are in the shared document.", "The next meeting is on Tuesday."),
        ("planning",),
    ),
    _Story(
        ("Trail conditions after the storm", "Weekend walk: the lake loop"),
        (
            "The lake loop is open again after the storm, except for the northern bridge.",
            "Allow {n} hours for the {m} kilometres, more with children.",
            "The hut serves soup until four in the afternoon.",
        ),
        ("Bring shoes that may get wet.", "The view from the ridge is worth the detour."),
        ("outdoors",),
    ),
)


def tell(at: int, chance: Random) -> Telling:
    """Something told at `at` (epoch seconds); `chance` decides on what and how."""
    if chance.random() < _SHARE_OF_STORIES:
        stretch = at // _STORY_LASTS
        # The facts belong to the story, the words to whoever tells it.
        facts = Random(f"story {stretch}")
        return _told(facts.choice(_STORIES), facts, chance)
    return _told(chance.choice(_EVERYDAY), chance, chance)


def _told(story: _Story, facts: Random, chance: Random) -> Telling:
    numbers = {"n": facts.randint(2, 9), "m": facts.randint(3, 24), "p": facts.randint(11, 89)}
    said = list(story.facts)
    lead, rest = said[0], said[1:]
    chance.shuffle(rest)
    sentences = [lead, *rest[: chance.randint(2, 3)], chance.choice(story.opinions)]
    fill = [sentence.format(**numbers) for sentence in sentences]
    return Telling(
        title=chance.choice(story.titles).format(**numbers),
        text=" ".join(fill),
        short=" ".join(fill[:2]),
        tags=story.tags,
    )
