"""Sentences that speak to a model instead of a reader.

What other people wrote is quoted, never obeyed. These signs are the first of three walls, and the one
that may fail: a text that shows them is kept away from models, and its sentence is not quoted. The
others are that a model has no tools, and that what it writes must be found in what it cites
(`grounding.py`).
"""

from __future__ import annotations

import re
import unicodedata


def _sign(needles: str, expression: str) -> tuple[tuple[tuple[str, ...], ...], re.Pattern[str]]:
    """A pattern, and what must be in a text before it is worth a look: one word of each group."""
    groups = tuple(tuple(group.split(",")) for group in needles.split(" + "))
    return groups, re.compile(expression, re.IGNORECASE | re.VERBOSE | re.MULTILINE)


_SIGNS = (
    _sign(
        "ignore,disregard,forget,override,bypass,skip"
        " + instruction,prompt,rule,direction,guideline,message,item,command",
        r"""\b(?:ignore|disregard|forget|override|bypass|skip)\b .{0,40}
        \b(?:previous|prior|above|earlier|preceding|all|any|your|these|other)\b .{0,30}
        \b(?:instructions?|prompts?|rules?|directions?|guidelines?|messages?|items?|commands?)\b""",
    ),
    _sign(
        "system,developer + prompt,message,override,instruction,mode",
        r"\b(?:system|developer)[ ]?(?:prompt|message|override|instructions?|mode)\b",
    ),
    _sign("instruction", r"\b(?:new|updated|real|hidden|important)\ instructions?\s*[:\-]"),
    _sign("you are now,you are no longer", r"\byou\ are\ (?:now|no\ longer)\b"),
    _sign("act as", r"\bact\ as\ (?:an?|the)\b .{0,40}\b(?:assistant|model|admin|ai)\b"),
    _sign("as a + ai,language", r"\bas\ an?\ (?:ai|large\ language|language)\b"),
    _sign("jailbr", r"\bjailbr(?:eak|oken)\b"),
    _sign(
        "assistant,summari,language model,llm,chatbot,ai,digest"
        " + must,should,shall,please,have to,need to,ignore,output,print,write,reply",
        r"""\b(?:assistants?|summari[sz]ers?|language\ models?|llms?|chatbots?|ais?|digest)\b
        [ ,:]{0,2}(?:you\ )?
        \b(?:must|should|shall|please|have\ to|need\ to|ignore|output|print|write|reply)\b""",
    ),
    _sign(
        "verbatim,exactly,the following,nothing else,word for word,summary,digest,answer",
        r"""\b(?:output|print|reply|respond|answer|write|insert|append|include|repeat|embed)\b .{0,40}
        \b(?:verbatim|exactly|the\ following|nothing\ else|word\ for\ word
          |in\ (?:your|the)\ (?:summary|digest|answer))\b""",
    ),
    _sign(
        "do not,don't,never + summari,mention,cite,tell the user",
        r"\b(?:do\ not|don't|never)\ (?:summari[sz]e|mention|cite|tell\ the\ user)\b",
    ),
    _sign(
        "summary,digest,output,response",
        r"\b(?:in|of|to)\ (?:your|the)\ (?:summary|digest|output|response)\b",
    ),
    _sign("<|", r"<\|[a-z_]{2,30}\|>"),
    _sign("inst],<<", r"\[/?INST\] | <</?SYS>>"),
    _sign("##", r"\#{2,}\ *(?:system|instruction|assistant)"),
    _sign("<", r"</?(?:system|assistant|instructions?|items?|untrusted)\b[^>]{0,80}>"),
    _sign("system,assistant,developer", r"^\s{0,20}(?:system|assistant|developer)\s{0,5}:"),
    _sign("ignorier", r"\bignorier\w*\b .{0,40}\b(?:anweisung|instruktion|befehl|regel)\w*"),
    _sign(
        "consigne,instruction", r"\b(?:ignor|oubli)\w*\b .{0,40}\b(?:instructions?|consignes?)\b"
    ),
    _sign(
        "instrucciones,instruções,istruzioni,órdenes",
        r"\b(?:ignor|olvid)\w*\b .{0,40}\b(?:instrucciones|instruções|istruzioni|órdenes)\b",
    ),
    _sign("忽略,无视,無視", r"(?:忽略|无视|無視).{0,20}(?:指令|指示|命令)"),
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
    if _shows_a_sign(plain):
        return True
    if plain.isascii():
        return False
    # Only a text that mixes scripts can hide words in look-alikes.
    latin = plain.translate(_LOOKALIKES)
    return latin != plain and _shows_a_sign(latin)


def _shows_a_sign(text: str) -> bool:
    folded = text.casefold()
    return any(
        all(any(needle in folded for needle in group) for group in groups) and pattern.search(text)
        for groups, pattern in _SIGNS
    )
