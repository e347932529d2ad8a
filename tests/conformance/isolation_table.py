"""What every RPC answers to ids of one's own, of another user, of nobody, and to what is no id at all.

To be reviewed by hand. The tests take the RPCs and their fields from the descriptors: an RPC without a
row here fails them, and so does a field that could name something and stands in no row.

A new RPC needs a row in `ROWS`; a field of a name that no row had before needs values in
`isolation_world.py` (`World.values`) if it is an id, or its name in `FREE` of the row if it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OK = "ok"
INVALID = "invalid_argument"
NOT_FOUND = "not_found"
EMPTY = "summary_unavailable"


@dataclass(frozen=True)
class Ids:
    """The answers to one field: `ok` or a code of the catalogue; of several, any will do.

    `other` holds for another user's and for an unknown one: those two must not be told apart.
    """

    own: str
    other: str
    malformed: tuple[str, ...]
    alike: bool = True  # False where the answer describes what the caller has just made


@dataclass(frozen=True)
class Row:
    """An RPC: its fields that name something, and those that name nothing."""

    ids: Mapping[str, Ids] = field(default_factory=dict)
    free: frozenset[str] = frozenset()


_FILTER = Ids(own=OK, other=OK, malformed=(INVALID, OK))
_SOURCES = Ids(own=OK, other=OK, malformed=(INVALID,))
_TOKEN = Ids(own=OK, other=INVALID, malformed=(INVALID,))
_CONNECTION = Ids(own=OK, other=NOT_FOUND, malformed=(NOT_FOUND, INVALID))
_PERIOD = Row(
    {
        "period": Ids(own=OK, other=EMPTY, malformed=(INVALID, NOT_FOUND)),
        "date": Ids(own=OK, other=EMPTY, malformed=(INVALID,)),
    },
    free=frozenset({"tz"}),
)
# The key to one feed or one user's mails: what comes near another's opens nothing.
_SECRET = Ids(own=OK, other=NOT_FOUND, malformed=(NOT_FOUND, INVALID))
_NOTHING = Row()

ROWS: Mapping[str, Row] = {
    "/distill.v1.DiscoveryService/GetApi": _NOTHING,
    "/distill.v1.DiscoveryService/GetCapabilities": _NOTHING,
    "/distill.v1.DiscoveryService/GetHealth": _NOTHING,
    "/distill.v1.DiscoveryService/GetJwks": _NOTHING,
    "/distill.v1.DiscoveryService/GetMetadata": _NOTHING,
    "/distill.v1.WatchService/Watch": Row(free=frozenset({"options.sync_frequency"})),
    "/distill.v1.WatchService/Unwatch": _NOTHING,
    "/distill.v1.SyncService/Sync": Row(free=frozenset({"types"})),
    "/distill.v1.SyncService/GetSyncJob": Row(
        {"job_id": Ids(own=OK, other=NOT_FOUND, malformed=(NOT_FOUND, INVALID))}
    ),
    "/distill.v1.ContentService/ListRecent": Row({"sources": _SOURCES, "page_token": _TOKEN}),
    "/distill.v1.ContentService/Search": Row(
        {
            "query": _FILTER,
            "sources": _SOURCES,
            "tags": _FILTER,
            "authors": _FILTER,
            "page_token": _TOKEN,
        }
    ),
    "/distill.v1.ContentService/SearchStream": Row(
        {
            "query": _FILTER,
            "sources": _SOURCES,
            "tags": _FILTER,
            "authors": _FILTER,
            "page_token": _TOKEN,
        }
    ),
    "/distill.v1.ContentService/AskStream": Row({"question": _FILTER, "sources": _SOURCES}),
    "/distill.v1.ContentService/Ask": Row({"question": _FILTER, "sources": _SOURCES}),
    "/distill.v1.ContentService/GetSummary": _PERIOD,
    "/distill.v1.ContentService/RegenerateSummary": _PERIOD,
    "/distill.v1.PreferenceService/GetPreferences": _NOTHING,
    "/distill.v1.PreferenceService/UpdatePreferences": Row(
        {"sources": _SOURCES},
        free=frozenset(
            {
                "language",
                "length",
                "tags",
                "authors",
                "names",
                "tz",
                "sections.name",
                "sections.words",
                "sections.tags",
                "sections.sources",
            }
        ),
    ),
    "/distill.v1.TagService/GetTagVocabulary": _NOTHING,
    "/distill.v1.TagService/UpdateTagVocabulary": Row(
        free=frozenset({"tags.name", "tags.aliases"})
    ),
    "/distill.v1.DigestService/CreateDigestFeed": _NOTHING,
    "/distill.v1.DigestService/DeleteDigestFeed": _NOTHING,
    "/distill.v1.DigestService/GetDigestFeed": Row({"token": _SECRET}, free=frozenset({"file"})),
    "/distill.v1.DigestService/StopDigestMails": Row({"token": _SECRET}),
    "/distill.v1.DigestService/ShowDigestUnsubscription": Row({"token": _SECRET}),
    "/distill.v1.DigestService/ConfirmDigestUnsubscription": Row({"token": _SECRET}),
    "/distill.v1.ConnectionService/ListConnections": _NOTHING,
    "/distill.v1.ConnectionService/GetConnection": Row({"source": _CONNECTION}),
    # Whoever connects a source connects an account of their own.
    "/distill.v1.ConnectionService/PutConnection": Row(
        {"source": Ids(own=OK, other=OK, malformed=(NOT_FOUND, INVALID), alike=False)},
        free=frozenset({"credentials", "settings"}),
    ),
    "/distill.v1.ConnectionService/DeleteConnection": Row({"source": _CONNECTION}),
    # Platforms call these, not users: the key is the secret, and acts for its owner (`rest/test_webhooks`).
    "/distill.v1.WebhookService/ReceiveWebhook": Row(free=frozenset({"source", "key"})),
    "/distill.v1.WebhookService/VerifyWebhook": Row(
        free=frozenset(
            {"source", "key", "crc_token"}
            | {f"hub.{name}" for name in ("mode", "topic", "challenge", "reason")}
        )
    ),
}
