"""Server-sent events come out as they went in, whatever they hold and however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.event_reader import Event, EventReader, EventTooLarge
from http_facade.streams import frame

KINDS = st.sampled_from(["statement", "item", "done", "error"])
# All that ends a line somewhere: in SSE only CR and LF do, in Unicode, JSON and JavaScript others, too.
TEXTS = st.text() | st.text(st.sampled_from('\r\n\u0085\u2028\u2029\x0b\x0c:" data\\\ufeff\0😀'))


def read(data: bytes, cuts: list[int], limit: int = 1 << 20) -> list[Event]:
    reader = EventReader(limit)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    return [event for piece in pieces for event in reader.feed(piece)]


@given(st.lists(st.tuples(KINDS, TEXTS), max_size=5), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_text_survives(events: list[tuple[str, str]], cuts: list[int]) -> None:
    sent = b":\n\n".join(frame(kind, orjson.dumps({kind: text})) for kind, text in events)
    told = read(sent, cuts)
    assert [(event.kind, orjson.loads(event.data)) for event in told] == [
        (kind, {kind: text}) for kind, text in events
    ]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("cut", range(40))
def test_every_end_of_a_line_is_one(end: str, cut: int) -> None:
    lines = [
        "event: greeting",
        "data: one",
        "data:two",
        "id: 7",
        "retry: 1",
        "data",
        ": no",
        "",
        "",
    ]
    told = read(end.join(lines).encode(), [cut])
    assert told == [Event("greeting", "one\ntwo\n")]


def test_an_event_without_data_is_none_and_one_without_an_end_is_not_told() -> None:
    assert read(b"event: a\n\ndata: b\n\ndata: c\n", []) == [Event("message", "b")]


def test_a_byte_order_mark_is_no_text() -> None:
    assert read(b"\xef\xbb\xbfdata: \xef\xbb\xbfx\n\n", []) == [Event("message", "\ufeffx")]


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: x\n" * 30])
def test_an_event_that_is_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(EventTooLarge):
        read(data, list(range(0, 300, 7)), limit=100)


def test_many_events_may_be_larger_together() -> None:
    assert len(read(b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\n" * 100, [], limit=100)) == 100
