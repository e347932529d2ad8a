"""One list of two: in the order of the scores, each item once, whatever comes and goes meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.feed import rank_fusion


@dataclass(frozen=True)
class Row:
    """An item as far as it matters here."""

    id: UUID


def row(number: int) -> Row:
    return Row(UUID(int=number))


def ids(*numbers: int) -> list[UUID]:
    return [UUID(int=number) for number in numbers]


def numbers(rows: Sequence[Row]) -> list[int]:
    return [one.id.int for one in rows]


@dataclass
class Lists:
    """What words find, best first, and what is near, nearest first. Both may lose items later."""

    words: list[int]
    near: list[int]

    def begin(self) -> rank_fusion.Walk:
        places = {UUID(int=n): place for place, n in enumerate(self.words, 1) if n in self.near}
        return rank_fusion.fuse(ids(*self.near), places)

    def page(
        self, walk: rank_fusion.Walk, last: int | None, limit: int
    ) -> tuple[list[int], int | None, rank_fusion.Walk | None]:
        """A page, as the database gives it: what words find goes on behind `last`."""
        others = [n for n in self.words if UUID(int=n) not in walk.near]
        if last is not None:
            order = {n: place for place, n in enumerate(self.order)}
            others = [n for n in others if order[n] > order[last]]
        near = {id_: row(id_.int) for id_ in walk.left if id_.int in self.near}
        told = [row(n) for n in others[: limit + 1]]
        page, count, following = rank_fusion.merge(walk, told, near, limit)
        return numbers(page), told[count - 1].id.int if count else last, following

    def __post_init__(self) -> None:
        self.order = list(self.words)


def scores(lists: Lists) -> dict[int, Fraction]:
    found: dict[int, Fraction] = {}
    for one in (lists.words, lists.near):
        for place, number in enumerate(one, 1):
            found[number] = found.get(number, Fraction(0)) + Fraction(1, rank_fusion.K + place)
    return found


LISTS = st.builds(
    Lists,
    st.lists(st.integers(1, 60), unique=True, max_size=40),
    st.lists(st.integers(1, 60), unique=True, max_size=25),
)
LIMITS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(LISTS, LIMITS)
def test_a_walk_tells_everything_once_in_the_order_of_the_scores(
    lists: Lists, limits: list[int]
) -> None:
    walk: rank_fusion.Walk | None = lists.begin()
    told: list[int] = []
    last, pages = None, 0
    while walk is not None:
        limit = limits[pages % len(limits)]
        # As a token keeps it.
        walk = rank_fusion.from_token(orjson.loads(orjson.dumps(rank_fusion.to_token(walk))))
        page, last, walk = lists.page(walk, last, limit)
        assert len(page) == limit or walk is None
        told += page
        pages += 1
    score = scores(lists)
    assert sorted(told) == sorted(score)
    assert [score[n] for n in told] == sorted(score.values(), reverse=True)


@given(LISTS, LIMITS, st.data())
def test_what_stays_is_told_once_whatever_comes_and_goes_between_two_pages(
    lists: Lists, limits: list[int], data: st.DataObject
) -> None:
    known = set(lists.words) | set(lists.near)
    walk: rank_fusion.Walk | None = lists.begin()
    told: list[int] = []
    last, pages, came = None, 0, 1000
    while walk is not None:
        page, last, walk = lists.page(walk, last, limits[pages % len(limits)])
        told += page
        pages += 1
        gone = data.draw(st.sampled_from(sorted(known))) if known else None
        if gone is not None and gone != last and data.draw(st.booleans()):
            known.discard(gone)
            lists.words = [n for n in lists.words if n != gone]
            lists.near = [n for n in lists.near if n != gone]
        if data.draw(st.booleans()):
            came += 1
            place = data.draw(st.integers(0, len(lists.words)))
            lists.words.insert(place, came)
            lists.order.insert(
                lists.order.index(lists.words[place + 1])
                if place + 1 < len(lists.words)
                else len(lists.order),
                came,
            )
    assert len(told) == len(set(told))
    assert known <= set(told)


@pytest.mark.parametrize(
    ("words", "near", "fused"),
    [
        ([], [], []),
        ([1, 2, 3], [], [1, 2, 3]),
        ([], [3, 1], [3, 1]),
        ([1, 2], [3, 4], [3, 1, 4, 2]),  # of equals the near one first
        ([1, 2, 3], [3], [3, 1, 2]),  # in both lists beats the first of one
        ([1, 2, 3], [3, 9, 1], [3, 1, 9, 2]),
    ],
)
def test_scores_of_both_lists_are_added(
    words: list[int], near: list[int], fused: list[int]
) -> None:
    lists = Lists(words, near)
    page, _, following = lists.page(lists.begin(), None, 100)
    assert page == fused
    assert following is None


def test_a_token_without_a_walk_is_an_empty_one() -> None:
    assert rank_fusion.from_token({"rank": 0.5}) == rank_fusion.Walk()
