"""What a message says by itself: quotations and signatures folded, newsletters readable.

Folded means replaced by a short line in brackets; what was folded is kept beside the text.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from distill_grpc.sources import text

_MAX_FOLDED = 20_000  # characters kept of what was folded
_SHORT_QUOTE = 3  # lines that stay, because an answer below them needs them
_SIGNATURE_LINES = 15

# Invisible runs with which newsletters fill the preview of mail programs.
_FILLING = re.compile("(?:[\u034f\u200c\u200d\u2007\u2800][ \t\xa0]*){2,}")
_QUOTED = re.compile(r"\s?>")
_ATTRIBUTION = re.compile(
    r"^(on|am|le|el|op|il|em|den)\b.{5,300}(wrote|schrieb|a écrit|escribió|schreef|ha scritto|"
    r"escreveu|skrev).{0,80}:\s*$",
    re.IGNORECASE | re.DOTALL,
)
_FORWARDED = re.compile(
    r"^(-{2,}\s*(original message|ursprüngliche nachricht|message d'origine|mensaje original)\s*-{2,}"
    r"|_{20,})\s*$",
    re.IGNORECASE,
)


def fold(said: str) -> tuple[str, str]:
    """The text without quotations and signature, and what was folded."""
    lines = text.clean(said).split("\n")
    lines, signature = _without_signature(lines)
    lines, original = _without_original(lines)
    kept: list[str] = []
    folded: list[str] = []
    place = 0
    while place < len(lines):
        end = place
        while end < len(lines) and _QUOTED.match(lines[end]):
            end += 1
        if end - place > _SHORT_QUOTE or (end > place and not any(map(str.strip, lines[end:]))):
            _drop_attribution(kept)
            kept.append(f"[{end - place} quoted lines]")
            folded += lines[place:end]
        else:
            end = max(end, place + 1)
            kept += lines[place:end]
        place = end
    if original:
        kept.append(f"[{len(original)} quoted lines]")
        folded += original
    folded += signature
    own = text.plain_text_lines(kept)
    if not re.sub(r"\[\d+ quoted lines\]", "", own).strip():
        # Nothing of its own: then what it repeats is what it says.
        return text.plain_text_lines(lines + original), "\n".join(signature)[:_MAX_FOLDED]
    return own, "\n".join(folded).strip()[:_MAX_FOLDED]


def of_html(markup: str) -> tuple[str, str]:
    """The text of an HTML message without its quotations, and those."""
    safe = text.sanitise_html(markup)
    parted = _Quotations()
    parted.feed(safe)
    parted.close()
    own, quoted = _readable("".join(parted.own)), _readable("".join(parted.quoted))
    if not quoted:
        return own, ""
    lines = own.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    _drop_attribution(lines)
    own = "\n".join(lines).strip()
    if not own:
        return _readable(safe), ""  # laid out by quotations, or nothing but one
    return f"{own}\n\n[{quoted.count(chr(10)) + 1} quoted lines]", quoted[:_MAX_FOLDED]


def unflowed(said: str, *, delete_space: bool) -> str:
    """Text of `format=flowed` with its paragraphs on one line each (RFC 3676)."""
    lines: list[str] = []
    open_line = False
    for raw in said.replace("\r\n", "\n").split("\n"):
        line = raw.removeprefix(" ")
        soft = line.endswith(" ") and line != "-- " and not line.startswith(">")
        ready = line[:-1] if soft and delete_space else line
        if open_line and line != "-- " and not line.startswith(">"):
            lines[-1] += ready
        else:
            lines.append(ready)
        open_line = soft
    return "\n".join(lines)


def _readable(safe_html: str) -> str:
    return _FILLING.sub(" ", text.text_of(safe_html)).strip()


def _without_signature(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before `-- ` (RFC 3676, 4.3), and the signature behind it, where it is one."""
    for place in range(len(lines) - 1, -1, -1):
        if lines[place] in {"-- ", "--"} and len(lines) - place - 1 <= _SIGNATURE_LINES:
            return lines[:place], lines[place + 1 :]
    return lines, []


def _without_original(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before a message that is repeated whole below, as Outlook does it, and that."""
    for place, line in enumerate(lines):
        if _FORWARDED.match(line.strip()) and any(map(str.strip, lines[:place])):
            return lines[:place], lines[place:]
    return lines, []


def _drop_attribution(lines: list[str]) -> None:
    """Takes `On …, somebody wrote:` away from the end; it may stand on two lines."""
    while lines and not lines[-1].strip():
        lines.pop()
    for count in (1, 2, 3):
        if len(lines) >= count and _ATTRIBUTION.match(" ".join(lines[-count:]).strip()):
            del lines[-count:]
            return


class _Quotations(HTMLParser):
    """Parts sanitised HTML, which is well-formed, into what is quoted and what is not."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.own: list[str] = []
        self.quoted: list[str] = []
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 -- the seam's
        if tag == "blockquote":
            self._depth += 1
        self._add(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self._add(f"</{tag}>")
        if tag == "blockquote":
            self._depth = max(0, self._depth - 1)

    def handle_data(self, data: str) -> None:
        self._add(data)

    def handle_entityref(self, name: str) -> None:
        self._add(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._add(f"&#{name};")

    def _add(self, piece: str) -> None:
        (self.quoted if self._depth else self.own).append(piece)
