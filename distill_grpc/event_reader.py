"""Reads server-sent events (the HTML standard, section 9.2.6) from bytes that come in any pieces."""

from __future__ import annotations

from typing import NamedTuple


class EventTooLarge(Exception):  # noqa: N818 -- what the other side sent, not a fault of ours
    """An event has more bytes than were allowed."""


class Event(NamedTuple):
    """One event: what it is called, `message` where it has no name, and its data."""

    kind: str
    data: str


class EventReader:
    """Takes the bytes of a stream; gives the events that are complete."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes that an event may have."""
        self._limit = limit
        self._rest = bytearray()  # of a line that has not ended
        self._looked = 0  # bytes of it in which no line ends
        self._after_cr = False
        self._first = True
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete, in order; raises `EventTooLarge`."""
        self._rest += data
        events = []
        while (line := self._line()) is not None:
            self._size += len(line)
            if not line:
                if self._data:
                    events.append(Event(self._kind or "message", "\n".join(self._data)))
                self._kind, self._data, self._size = "", [], 0
            else:
                self._take(line.decode("utf-8", "replace"))
        if self._size + len(self._rest) > self._limit:
            raise EventTooLarge
        return events

    def _line(self) -> bytes | None:
        """The next line; it ends with LF, CR or both."""
        if self._after_cr and self._rest:
            self._after_cr = False
            if self._rest[0] == 0x0A:
                del self._rest[0]
        ends = (self._rest.find(sign, self._looked) for sign in (b"\n", b"\r"))
        end = min((place for place in ends if place >= 0), default=-1)
        if end < 0:
            self._looked = len(self._rest)
            return None
        self._after_cr = self._rest[end] == 0x0D
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        self._looked = 0
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
