"""Words that embedding models were trained to find before texts and before queries.

Without them such a model puts a question and its answer further apart. Known are families whose model
cards ask for them; a name is compared without its owner and tag (`nomic-ai/nomic-embed-text:v1.5`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What stands before each text that is kept, and before each query."""

    text: str = ""
    query: str = ""


NONE = Prefixes()
_PASSAGES = Prefixes(query="Represent this sentence for searching relevant passages: ")
_FAMILIES: Sequence[tuple[re.Pattern[str], Prefixes]] = (
    (re.compile(r"nomic-embed-text"), Prefixes("search_document: ", "search_query: ")),
    # Those trained for instructions take another form.
    (
        re.compile(r"(multilingual-)?e5-(small|base|large)(?!.*instruct)"),
        Prefixes("passage: ", "query: "),
    ),
    (re.compile(r"mxbai-embed-large"), _PASSAGES),
    (re.compile(r"bge-(small|base|large)-en"), _PASSAGES),
)


def of_model(name: str) -> Prefixes:
    """What a model of this name wants; nothing where the name tells nothing."""
    own = name.lower().rpartition("/")[2]
    return next((wanted for family, wanted in _FAMILIES if family.match(own)), NONE)
