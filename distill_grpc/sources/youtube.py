"""YouTube: new videos of the channels that a user names or is subscribed to.

Credentials: a key of the YouTube Data API (named channels only), or an OAuth 2.0 token with the scope
`youtube.readonly` (subscriptions as well), which the core renews where a refresh token is given.
Quota: 10,000 units a day and project; a request costs one. Channels' free feeds are asked first.

Parts: each named channel as it was written down, each subscribed channel by its id, and the list
`subscriptions` itself, which is read every six hours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from yarl import URL

from distill_grpc import clock
from distill_grpc.sources import api_state, oauth, youtube_settings, youtube_uploads
from distill_grpc.sources.api_json import list_at, text_at
from distill_grpc.sources.api_time import FetchClock
from distill_grpc.sources.api_walk import Breaker
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Json,
    Page,
    PlatformError,
)
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.websub import YOUTUBE_HUB, WebSub
from distill_grpc.sources.youtube_api import AT_ONCE, ROOT, YoutubeApi
from distill_grpc.sources.youtube_feed import ADDRESS
from distill_grpc.sources.youtube_settings import (
    INFO,
    MAX_SUBSCRIPTIONS,
    SUBSCRIPTIONS,
    Channel,
    channel,
    follows_subscriptions,
)

_LIST_PAUSE = 6 * 3_600.0
_MAX_PAGES = 200
_A_CHANNEL = "UC_x5XG1OV2P6uZZ5FSM9Ttw"  # of Google; asked for where only a key is to be tried


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subscriptions:
    channels: list[str] = field(default_factory=list)


class YoutubeSource:
    """Reads YouTube; where the context names an API root, feeds are read from the same origin."""

    def __init__(self, context: SourceContext) -> None:
        self.info = replace(INFO, oauth=oauth.google(context.google_token_url))
        self._context = context
        self._http = context.http.at_api()
        self.websub = WebSub(context.http)
        self.root = context.api_urls.get("youtube", ROOT)
        own = self.root != ROOT
        self._feeds = str(URL(self.root).origin() / "feeds/videos.xml") if own else ADDRESS

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` naming every wrong credential and setting."""
        youtube_settings.check(credentials, settings)

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """The user's own channel, where there is a token; tries the key, and the named channels.

        Raises `InvalidConnection` for channels that YouTube does not know.
        """
        api = self._api(credentials, FetchClock(clock.utc_now()))
        account = Account()
        if credentials.get("access_token"):
            mine = list_at(
                await api.get("channels", {"part": "snippet", "mine": "true"}, as_me=True), "items"
            )
            if mine:  # an account of Google's need not have a channel
                title = text_at(mine[0], "snippet", "title")
                account = Account(name=title, id=text_at(mine[0], "id"))
        named = settings.get("channels") or ()
        unknown = await self._unknown(api, named)
        if unknown:
            raise InvalidConnection(unknown)
        if credentials.get("api_key") and not named:
            await api.get("channels", {"part": "id", "id": _A_CHANNEL})
        return account

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The channels as written down; none where only YouTube knows which there are."""
        return () if follows_subscriptions(settings) else tuple(settings.get("channels") or ())

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads the subscriptions, then channel after channel, those read longest ago first."""
        api = self._api(request.credentials, FetchClock(request.now), request.user)
        breaker = Breaker()
        named = list(request.settings.get("channels") or ())
        cursor = request.cursors.get(SUBSCRIPTIONS)
        if follows_subscriptions(request.settings):
            if SUBSCRIPTIONS not in request.skip:
                reading = _read_subscriptions(api, cursor)
                async with aclosing(breaker.guarded(SUBSCRIPTIONS, reading)) as pages:
                    async for page in pages:
                        cursor = page.cursor if page.failure is None else cursor
                        yield page
            named += api_state.load(_Subscriptions, cursor).channels
        channels = list(dict.fromkeys(named))
        due = [part for part in channels if part not in request.skip]
        due.sort(key=lambda part: youtube_uploads.last_read(request.cursors.get(part)))
        for part in due:
            async with aclosing(breaker.guarded(part, self._read(api, request, part))) as pages:
                async for page in pages:
                    yield page
        if not self.parts(request.settings) and cursor is not None:
            for part in request.left({*channels, SUBSCRIPTIONS}):
                yield Page(part=part, ended=True)  # a channel that is not subscribed to any more

    async def _read(
        self, api: YoutubeApi, request: FetchRequest, part: str
    ) -> AsyncGenerator[Page, None]:
        known = youtube_uploads.channel_of(request.cursors.get(part))
        channel_id = known or await _channel_id(api, part)
        settings = request.settings
        uploads = youtube_uploads.Uploads(
            api=api,
            http=self._http,
            feeds="" if settings.get("feeds") is False else self._feeds,
            request=request,
            part=part,
        )
        shorts = settings.get("shorts") is not False
        async with aclosing(uploads.read(channel_id, shorts=shorts)) as pages:
            async for page in pages:
                if page.last and self._feeds == ADDRESS:
                    topic = f"{ADDRESS}?channel_id={channel_id}"
                    yield replace(page, hub=YOUTUBE_HUB, topic=topic)
                else:
                    yield page

    async def _unknown(self, api: YoutubeApi, named: tuple[str, ...] | list[str]) -> dict[str, str]:
        """Named channels that YouTube does not know: field → rule. Ids cost a unit per 50."""
        wanted = {place: channel(written) for place, written in enumerate(named)}
        ids = {
            place: found.value
            for place, found in wanted.items()
            if found and found.parameter == "id"
        }
        there: set[str] = set()
        values = list(dict.fromkeys(ids.values()))
        for start in range(0, len(values), AT_ONCE):
            some = ",".join(values[start : start + AT_ONCE])
            answer = await api.get(
                "channels", {"part": "id", "id": some, "maxResults": str(AT_ONCE)}
            )
            there |= {text_at(found, "id") for found in list_at(answer, "items")}
        missing = [place for place, value in ids.items() if value not in there]
        for place, found in wanted.items():
            if found and found.parameter != "id" and not await _look_up(api, found):
                missing.append(place)
        return {f"settings.channels[{place}]": "is no channel of YouTube" for place in missing}

    def _api(self, credentials: Mapping[str, Json], time: FetchClock, user: str = "") -> YoutubeApi:
        return YoutubeApi(
            self._http,
            self._context.budgets,
            self.root,
            credentials,
            clock=time,
            user=user,
        )


async def _channel_id(api: YoutubeApi, part: str) -> str:
    """The id of a channel as it was written down; for nothing where it is the id itself."""
    found = channel(part)
    if found is not None and found.parameter == "id":
        return found.value
    channel_id = await _look_up(api, found) if found else ""
    if not channel_id:
        raise PlatformError("YouTube knows no such channel.", reason="not_found")
    return channel_id


async def _look_up(api: YoutubeApi, wanted: Channel) -> str:
    answer = await api.get("channels", {"part": "id", wanted.parameter: wanted.value})
    ids = [text_at(found, "id") for found in list_at(answer, "items")]
    return next((i for i in ids if (c := channel(i)) is not None and c.parameter == "id"), "")


async def _read_subscriptions(api: YoutubeApi, cursor: Json) -> AsyncGenerator[Page, None]:
    """The list of subscriptions, in one go; begins anew once where a page's token is refused."""
    found: dict[str, None] = {}
    token, tokens, restarted = "", {""}, False
    for _ in range(_MAX_PAGES):
        try:
            answer = await api.get(
                "subscriptions",
                {
                    "mine": "true",
                    "part": "snippet",
                    "maxResults": str(AT_ONCE),
                    "order": "alphabetical",  # other orders repeat and leave out entries between pages
                    **({"pageToken": token} if token else {}),
                },
                as_me=True,
            )
        except PlatformError as failure:
            if failure.reason != "invalidPageToken" or not token or restarted:
                raise
            token, tokens, restarted = "", {""}, True
            continue
        for entry in list_at(answer, "items"):
            channel_id = text_at(entry, "snippet", "resourceId", "channelId")
            wanted = channel(channel_id)
            if wanted is not None and wanted.parameter == "id":
                found[channel_id] = None
        token = text_at(answer, "nextPageToken")
        if not token or token in tokens:
            break
        tokens.add(token)
    channels = list(found)[:MAX_SUBSCRIPTIONS]
    yield Page(
        part=SUBSCRIPTIONS,
        cursor=api_state.dump(_Subscriptions(channels=channels)),
        min_interval=_LIST_PAUSE,
        unchanged=channels == api_state.load(_Subscriptions, cursor).channels,
    )
