"""Readable names for addresses, made of titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

LONGEST = 80
_OTHER = re.compile(r"[\W_]+")


def slug(title: str) -> str:
    """Letters and digits of any script, in lower case, joined by dashes: `Hello, World` → `hello-world`.

    Accents of Latin letters go (`é` → `e`), and joiners. A title without letters or digits gives `post`.
    """
    folded = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(
        c
        for c in folded
        if not (unicodedata.combining(c) and ord(c) < 0x370) and unicodedata.category(c) != "Cf"
    )
    words = _OTHER.sub("-", unicodedata.normalize("NFC", plain)).strip("-")
    return words[:LONGEST].strip("-") or "post"


def first_free(base: str, taken: Collection[str]) -> str:
    """`base`, or `base-2`, `base-3`, … whichever is not taken first; never longer than `LONGEST`."""
    if base not in taken:
        return base
    number = 2
    while (name := numbered(base, number)) in taken:
        number += 1
    return name


def numbered(base: str, number: int) -> str:
    """`base-2`, the base being cut where the whole would be too long."""
    end = f"-{number}"
    return base[: LONGEST - len(end)].rstrip("-") + end
