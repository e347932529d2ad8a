"""Sentences that speak to a model instead of a reader.

What other people wrote is quoted, never obeyed. These signs are the first of three walls, and the one
that may fail: a text that shows them is kept away from models, and its sentence is not quoted. The
others are that a model has no tools, and that what it writes must be found in what it cites
(`grounding.py`).
"""

from __future__ import annotations

import re
import unicodedata

_SIGNS = re.compile(
    r"""
      \b(?:ignore|disregard|forget|override|bypass|skip)\b .{0,40}
        \b(?:previous|prior|above|earlier|preceding|all|any|your|these|other)\b .{0,30}
        \b(?:instructions?|prompts?|rules?|directions?|guidelines?|messages?|items?|commands?)\b
    | \b(?:system|developer)[ ]?(?:prompt|message|override|instructions?|mode)\b
    | \b(?:new|updated|real|hidden|important)\ instructions?\s*[:\-]
    | \byou\ are\ (?:now|no\ longer)\b | \bact\ as\ (?:an?|the)\b .{0,40}\b(?:assistant|model|admin|ai)\b
    | \bas\ an?\ (?:ai|large\ language|language)\b | \bjailbr(?:eak|oken)\b
    | \b(?:assistants?|summari[sz]ers?|language\ models?|llms?|chatbots?|ais?|digest)\b
        [ ,:]{0,2}(?:you\ )?\b(?:must|should|shall|please|have\ to|need\ to|ignore|output|print|write|reply)\b
    | \b(?:output|print|reply|respond|answer|write|insert|append|include|repeat|embed)\b .{0,40}
        \b(?:verbatim|exactly|the\ following|nothing\ else|word\ for\ word
          |in\ (?:your|the)\ (?:summary|digest|answer))\b
    | \b(?:do\ not|don't|never)\ (?:summari[sz]e|mention|cite|tell\ the\ user)\b
    | \b(?:in|of|to)\ (?:your|the)\ (?:summary|digest|output|response)\b
    | <\|[a-z_]{2,30}\|> | \[/?INST\] | <</?SYS>> | \#{2,}\ *(?:system|instruction|assistant)
    | </?(?:system|assistant|instructions?|items?|untrusted)\b[^>]{0,80}>
    | ^\s*(?:system|assistant|developer)\s*:
    | \bignorier\w*\b .{0,40}\b(?:anweisung|instruktion|befehl|regel)\w*
    | \b(?:ignor|oubli)\w*\b .{0,40}\b(?:instructions?|consignes?)\b
    | \b(?:ignor|olvid)\w*\b .{0,40}\b(?:instrucciones|instruções|istruzioni|órdenes)\b
    | (?:忽略|无视|無視).{0,20}(?:指令|指示|命令)
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
# Letters of other scripts that look like Latin ones, and what hides inside words.
_LOOKALIKES = str.maketrans("аеорсухіѕԁɡ", "aeopcyxisdg")  # noqa: RUF001 -- that is what they are for
_HIDDEN = re.compile(
    r"[\u00ad\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_TAGS = re.compile("[\U000e0000-\U000e007f]")


def addresses_a_model(text: str) -> bool:
    """True where a text shows a sign of instructions to a model, hidden characters seen through."""
    if _TAGS.search(text):
        return True  # invisible tag characters have no other use in text
    plain = unicodedata.normalize("NFKC", _HIDDEN.sub("", text))
    return (
        _SIGNS.search(plain) is not None or _SIGNS.search(plain.translate(_LOOKALIKES)) is not None
    )
