"""Texts as they come, made into what a person would read: one block a line, no furniture.

What a digest quotes is verbatim after this cleaning.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

# Controls, soft hyphens, invisible spaces, direction overrides (they can turn a text round), lone
# surrogates and the object mark. The joiners U+200C and U+200D stay: scripts and emoji need them.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060-\u2064"
    r"\u202a-\u202e\u2066-\u206f\ufeff\ufffc\ud800-\udfff]"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r"[^\S\n]+")
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]\n]{0,200}\]\([^()\s]{1,500}\)")
_MARKDOWN_LINK = re.compile(r"\[([^\[\]\n]{1,200})\]\([^()\s]{1,500}\)")
_EMPHASIS = re.compile(r"\*\*|__(?=\S)|(?<=\S)__")
_APPEARED = re.compile(
    r"The post [^\n]{1,300}? (?:first appeared|appeared first) on [^\n]{1,150}", re.IGNORECASE
)
_CUT_MARK = re.compile(r"""([.!?…。！？]["'”’»)]?)?\s?\[(?:…|\.\.\.|&hellip;|&#8230;)\]""")  # noqa: RUF001 -- marks of CJK
# Marks of footnotes: Markdown's, and raised numbers behind a sentence.
_NOTE_MARK = re.compile(r"\[\^[^\]\s]{1,20}\](?!:)|(?<=[.!?…,;”’»])[⁰¹²³⁴-⁹]{1,3}(?!\w)")  # noqa: RUF001 -- closing quotes
_MORE_MARK = re.compile(
    r"""\ ?(?:
      \((?:more|weiter|suite)(?:…|\.\.\.)\)
    | (?:Read\ (?:more|on|the\ (?:rest|full\ (?:story|article)))|Continue\ reading
      |Weiterlesen|Lire\ la\ suite)
      [^.!?\n]{0,120}?[→»\u203a>…]{1,3}
    )\ ?$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_BULLET = re.compile(r"(?:[-*+•‣▪●◦·–—→►]|\(?\d{1,2}[.)])\s+")  # noqa: RUF001 -- dashes that lists begin with
_HEADING = re.compile(r"#{1,6}\s+")
_REPOST = re.compile(r"RT @\w{1,30}:\s*")
_MAIL_INTRODUCTION = re.compile(
    r"""(?:
      (?:On|Am|Le|El|Il|Em|Op)\ .{5,200}
      (?:wrote|schrieb.{0,80}|a\ écrit|escribió|ha\ scritto|escreveu|schreef)\ ?:
    | -{2,}\ ?(?:Original\ Message|Forwarded\ message|Ursprüngliche\ Nachricht).{0,20}
    | (?:From|To|Cc|Von|An|De|À|Da|Van|Aan):\ .{0,200}@.{0,200}
    | (?:Sent|Gesendet|Envoyé|Enviado|Inviato|Verzonden):\ .{0,100}
    )$""",
    re.VERBOSE,
)
_REPLY = re.compile(r"(?:(?:re|fwd?|aw|wg|tr|rv|sv|antw)\s*:\s*)+", re.IGNORECASE)
_ENDS = ".!?…:;。！？｡؟।"  # noqa: RUF001 -- other scripts' ends of sentences

LINK = re.compile(r"https?://[^\s<>\"'“”‘’「」『』（），。]+")  # noqa: RUF001 -- what no link holds
_SHORTENERS = frozenset(
    {"t.co", "bit.ly", "buff.ly", "ow.ly", "tinyurl.com", "goo.gl", "dlvr.it", "ift.tt", "lnkd.in"}
)
_TRACKING = re.compile(r"(?:utm_\w+|fbclid|gclid|mc_cid|mc_eid|ref|source|igshid|s|si)=[^&]*&?")


def clean_text(text: str) -> str:
    """The text as blocks (paragraphs, list items, headings), one a line, without furniture.

    Gone are code fences, quoted mail, signatures, Markdown's marks, invisible characters and links;
    a link inside a sentence leaves its host behind, so that the sentence can still be read. A text
    of nothing else comes back as it is, in one line.
    """
    text = whole = _visible(text)
    if "](" in text:
        text = _MARKDOWN_LINK.sub(r"\1", _MARKDOWN_IMAGE.sub("", text))
    if "**" in text or "__" in text:
        text = _EMPHASIS.sub("", text)
    if "appeared" in text:
        text = _APPEARED.sub("", text)
    text = _NOTE_MARK.sub("", text)
    text = _MORE_MARK.sub("", _CUT_MARK.sub(lambda cut: cut[1] or "…", text))
    blocks = (_without_links(block) for block in _blocks(text.split("\n")))
    return "\n".join(block for block in blocks if block) or " ".join(whole.split())


def clean_title(title: str, author: str = "") -> str:
    """The title in one line, without reply marks, links and its author's name at the end."""
    text = " ".join(_visible(title).split())
    text = _without_links(_REPLY.sub("", text, count=1) if _REPLY.match(text) else text)
    name = " ".join(author.split())
    if name and text.casefold().endswith(name.casefold()):
        head = text[: -len(name)].rstrip()
        if head[-1:] in {"|", "-", "–", "—", "·", "»"} and len(head) > 10:  # noqa: RUF001 -- separators
            text = head[:-1].rstrip()
    return text.rstrip(" |-–—:")  # noqa: RUF001 -- separators with nothing behind them


def host_of(url: str) -> str:
    """The host of an address without `www.`, or ""."""
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def same_address(url: str) -> str:
    """An address by which two copies of one page meet: no scheme, `www.`, tracking or fragment."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    except ValueError:
        return ""
    query = _TRACKING.sub("", parts.query).rstrip("&")
    return f"{host}{parts.path.rstrip('/')}{'?' + query if query else ''}" if host else ""


def links_in(text: str, *, limit: int = 12) -> tuple[str, ...]:
    """The pages that a text links to, as `same_address` writes them; at most `limit`.

    Bare hosts and shortened links say nothing of the page and are left out.
    """
    found: dict[str, None] = {}
    for match in LINK.finditer(text):
        address = same_address(_split_link(match[0])[0])
        host, _, path = address.partition("/")
        if path and host not in _SHORTENERS:
            found[address] = None
            if len(found) == limit:
                break
    return tuple(found)


def _visible(text: str) -> str:
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text))


def _blocks(lines: list[str]) -> list[str]:
    """Joins lines that were wrapped; list items, headings and verses stay apart."""
    blocks: list[str] = []
    open_block = fenced = False
    for number, raw in enumerate(lines):
        line = raw.strip()
        if line.startswith(("```", "~~~")):
            fenced, open_block = not fenced, False
            continue
        if line == "--" and len(lines) - number <= 15 and number:
            break  # a mail's signature (RFC 3676, section 4.3)
        if fenced or line.startswith(">") or _MAIL_INTRODUCTION.match(line):
            open_block = False
            continue
        if not any(map(str.isalnum, line)):
            open_block = open_block and bool(line)
            continue
        marked = _BULLET.match(line) or _HEADING.match(line) or _REPOST.match(line)
        if marked:
            line, open_block = line[marked.end() :], False
        if open_block and 45 <= len(lines[number - 1]) <= 100 and blocks[-1][-1] not in _ENDS:
            blocks[-1] += " " + line
        elif line:
            blocks.append(line)
        open_block = bool(line) and not (marked and marked.re is _HEADING)
    return blocks


def _without_links(block: str) -> str:
    """The block without links at its end or in brackets; elsewhere the host stands for the link."""
    if "#" in block:
        block = _without_hashtags(block)
    if "://" in block:
        pieces = LINK.split(block)
        links = LINK.findall(block)
        text = pieces.pop()
        while links:
            link, rest = _split_link(links.pop())
            before, text = pieces.pop(), rest + text
            if before.endswith(("(", "<")) and text.startswith((")", ">")):
                text = before[:-1].rstrip() + text[1:]
            elif not text.strip(" .)>"):
                text = before.rstrip(" :(<-–—→")  # noqa: RUF001 -- what leads up to a link
            else:
                host = host_of(link)
                text = before + ("" if host in _SHORTENERS else host) + text
        block = text
    return " ".join(block.split())


def _without_hashtags(block: str) -> str:
    """The block without a row of hashtags at its end; a single one may be part of the sentence."""
    words = block.split(" ")
    kept = len(words)
    while kept and (words[kept - 1].startswith("#") or not words[kept - 1]):
        kept -= 1
    return " ".join(words[:kept]) if kept and len(words) - kept > 1 else block


def _split_link(link: str) -> tuple[str, str]:
    """A link, and the punctuation after it that belongs to the sentence."""
    bare = link.rstrip(".,;:!?)*]")
    return bare, link[len(bare) :]
