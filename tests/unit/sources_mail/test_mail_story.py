"""One user's mailbox from the connection to a new password, on a real server."""

from __future__ import annotations

from datetime import timedelta

from distill_grpc.sources.base import NoPlatformAuth
from tests.servers.dovecot import PASSWORD
from tests.unit.sources_mail.mail_reading import Mailbox, mail


async def test_connect_backfill_news_thread_deletion_renumbering_and_a_new_password(
    mailbox: Mailbox,
) -> None:
    mailbox.settings["folders"] = ["INBOX", "Lists"]
    mailbox.deliver(mail("Shall we?", subject="Plan", id_="1@a"), hours=30)
    mailbox.deliver(mail("This week", subject="Week", List_Id="<l.a>"), folder="Lists", hours=20)
    mailbox.source.check(mailbox.credentials, mailbox.settings)
    account = await mailbox.source.identify(mailbox.credentials, mailbox.settings)
    assert account.name == mailbox.user
    await mailbox.read()
    assert mailbox.titles() == ["Plan", "Week"]

    answer = mail("Yes.\n\n> Shall we?\n", subject="Re: Plan", id_="2@a", References="<1@a>")
    mailbox.deliver(answer)
    mailbox.deliver(mail(subject="Spam"))
    await mailbox.read()
    threads = {i.title: i.thread_id for i in mailbox.items.values() if "Plan" in i.title}
    assert threads == {"Plan": "1@a", "Re: Plan": "1@a"}

    mailbox.server.remove(mailbox.user, 3)
    await mailbox.read()
    assert mailbox.titles() == ["Plan", "Re: Plan", "Week"]
    assert len(mailbox.deleted) == 1

    mailbox.server.renumber(mailbox.user)
    mailbox.deliver(mail(subject="After"))
    before = len(mailbox.items)
    await mailbox.read()
    assert len(mailbox.items) == before + 1

    mailbox.credentials["password"] = "wrong"
    await mailbox.read()
    assert isinstance(mailbox.failure, NoPlatformAuth)
    mailbox.credentials["password"] = PASSWORD
    mailbox.now += timedelta(days=1)
    await mailbox.read()
    assert mailbox.failure is None
    assert mailbox.titles() == ["After", "Plan", "Re: Plan", "Week"]
