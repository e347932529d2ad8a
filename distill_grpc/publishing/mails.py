"""The mail that tells a subscriber of a new post: text and HTML, with an end of one click (RFC 8058)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from distill_grpc.mail.headers import address, offer_unsubscribe
from distill_grpc.publishing import texts
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.sources.text import text_of

_NAMESPACE = uuid.UUID("0d6a1f3e-58f1-4f0b-8a57-4d2f0a8c7a55")
_FAR_TOO_LONG = 400_000  # characters of HTML; what is longer is read at its address


def message_id(post_id: UUID, subscriber_id: UUID, sender: str) -> str:
    """The same for the same post and subscriber, however often it is sent."""
    named = uuid.uuid5(_NAMESPACE, f"{post_id}:{subscriber_id}")
    return f"<post.{named}@{sender.rpartition('@')[2]}>"


@dataclass(frozen=True, slots=True)
class Written:
    """What all mails about a post have in common."""

    post: Row[Any]
    author: str
    link: str
    text: str
    html: str


def write(post: Row[Any], addresses: Addresses) -> Written:
    """What the mails about a post say. Takes some time for a long one: call it in a thread."""
    link = addresses.post(post.id)
    html = post.content_html
    if len(html) > _FAR_TOO_LONG:
        html = f'<p><a href="{escape(link)}">Read it here</a></p>'
    return Written(post, texts.one_line(post.username), link, text_of(html, links=True), html)


def compose(
    written: Written, recipient: Row[Any], *, sender: str, addresses: Addresses, token: str
) -> EmailMessage | None:
    """The mail to one subscriber; None where their address is none that mail can go to."""
    post, stop = written.post, addresses.unsubscribe(token)
    author, receiver = address(sender, written.author), address(recipient.email)
    if author is None or receiver is None:
        return None
    message = EmailMessage()
    message["From"], message["To"] = author, receiver
    message["Subject"] = post.title
    message["Date"] = format_datetime(post.published_at)
    message["Message-ID"] = message_id(post.id, recipient.id, author.addr_spec)
    offer_unsubscribe(message, stop)
    message["Auto-Submitted"] = "auto-generated"
    if post.request_id:
        message["X-Request-Id"] = post.request_id
    message.set_content(
        f"{post.title}\nby {written.author}\n\n{written.text}\n\n-- \n"
        f"Read it: {written.link}\nNo more mails: {stop}\n"
    )
    title = escape(post.title)
    message.add_alternative(
        f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head><body>'
        f"<h1>{title}</h1><p>by {escape(written.author)}</p>{written.html}<hr>"
        f'<p><a href="{escape(written.link)}">Read it</a>, or '
        f'<a href="{escape(stop)}">get no more mails</a>.</p></body></html>',
        subtype="html",
    )
    return message
