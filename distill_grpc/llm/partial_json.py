"""Sentences of a model's answer, found while it is still being written.

An answer is JSON in which each sentence is an object of its own (`material.py`); such an object is complete
when its brace closes, long before the whole can be read.
"""

from __future__ import annotations

import orjson

from distill_grpc.llm.material import MOST_SENTENCES, sentences_in

_DEEPEST = 32  # braces within each other; an answer has three


class SentenceReader:
    """Takes the text of an answer in any pieces; gives the sentences that are complete."""

    def __init__(self) -> None:
        self._text = ""
        self._place = 0
        self._open: list[int] = []  # where the objects begin that have not ended
        self._inner = False  # the object that ends next has none within
        self._quoted = False
        self._escaped = False
        self._found = 0

    def feed(self, piece: str) -> list[tuple[str, list[str]]]:
        """Sentences and the passages that they name, each once, in order."""
        self._text += piece
        found: list[tuple[str, list[str]]] = []
        for place in range(self._place, len(self._text)):
            if self._ends_an_object(place, self._text[place]):
                found += self._sentences(self._open.pop(), place + 1)
                self._inner = False
        self._place = len(self._text)
        return found

    def _ends_an_object(self, place: int, sign: str) -> bool:
        """Follows the text sign by sign; before the first brace stands what is no JSON."""
        if self._quoted:
            self._quoted = sign != '"' or self._escaped
            self._escaped = sign == "\\" and not self._escaped
        elif sign == "{":
            if len(self._open) < _DEEPEST:
                self._open.append(place)
            self._inner = True
        elif sign == '"':
            self._quoted = bool(self._open)
        return sign == "}" and not self._quoted and bool(self._open)

    def _sentences(self, start: int, end: int) -> list[tuple[str, list[str]]]:
        if not self._inner or self._found >= MOST_SENTENCES:
            return []
        try:
            value = orjson.loads(self._text[start:end].replace("\x00", ""))
        except orjson.JSONDecodeError:
            return []
        found = sentences_in([value])
        self._found += len(found)
        return found
