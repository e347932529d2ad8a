"""A reader follows a creator, and finds the posts in what is new and in the digest."""

from __future__ import annotations

from pathlib import Path

from distill_grpc import app
from http_facade.remote import RemoteTransport
from tests.conformance.publishing.people import Person, person
from tests.service import Answer, start_service

PARAGRAPH = (
    "The harbour of the small town is being rebuilt, and the ferry to the island stops at the old "
    "pier until June. The council published the plan on Monday and asks for comments."
)


async def as_user(who: Person, method: str, path: str, json: object = None) -> Answer:
    headers = {"Authorization": f"Bearer {who.token}"}
    answer = await who.service.call(method, path, json, user=None, headers=headers)
    assert answer.status in {200, 201, 202}, answer.text
    return answer


async def test_the_posts_of_a_creator_reach_the_reader_in_recent_and_in_the_digest(
    database_url: str, tmp_path: Path, unused_port: int
) -> None:
    address = f"127.0.0.1:{unused_port}"
    async with start_service(
        database_url,
        tmp_path,
        mock=False,
        sources="creators",
        public_url=f"http://{address}",
        sync_min_interval="1s",
    ) as service:
        door = service.settings.model_copy(update={"http_address": address})
        async with app.facade(door, RemoteTransport(service.grpc_address)):
            ada, eve = await person(service), await person(service)
            bob = await person(service, "reader")
            followed = await ada.post(title="The ferry stops at the old pier", content=PARAGRAPH)
            await eve.post(title="Nobody reads this")
            assert (await bob.call("POST", f"/creators/{ada.id}/subscribe")).status == 201
            await as_user(bob, "PUT", "/connections/creators", {})
            await as_user(bob, "POST", "/watch")
            # Which user the service is asked as is in the token, not in a header of the test.
            while "last_sync" not in (await as_user(bob, "GET", "/metadata")).body["user_status"]:
                pass
            recent = (await as_user(bob, "GET", "/content/recent?hours=24")).body["data"]
            assert [item["platform_id"] for item in recent] == [followed]
            assert recent[0]["content"].startswith("The harbour of the small town")
            digest = (await as_user(bob, "GET", "/content/summary/daily")).text
            assert "ferry" in digest
            assert "Nobody reads" not in digest
