"""ConnectionService: proto to domain and back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.encryption import CannotDecrypt
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed import connecting, freshness
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.proto.distill.v1 import connection_service_pb2 as pb
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.instants import set_instant
from distill_grpc.sources.base import Source

# Beyond this a double is no exact whole number (RFC 8259, section 6).
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class ConnectionServicer:
    """Manages a user's connections."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    tokens: TokenKeeper
    pushing: Pushing | None = None

    async def put_connection(self, request: pb.PutConnectionRequest, call: Call) -> pb.Connection:
        """See the contract."""
        source = self.sources.get(request.source)
        if source is None:
            known = ", ".join(self.sources)
            raise DistillError(
                ErrorReason.NOT_FOUND,
                f"There is no source {request.source!r}; there is {known}.",
            )
        connected = await connecting.connect(
            self.engine,
            call.caller.user_id,
            source=source,
            credentials=_plain(request, "credentials"),
            settings=_plain(request, "settings"),
            tokens=self.tokens,
            pushing=self.pushing,
        )
        return _connection(connected, self.pushing)

    async def list_connections(
        self, _request: pb.ListConnectionsRequest, call: Call
    ) -> pb.ListConnectionsResponse:
        """See the contract."""
        async with self.engine.connect() as connection:
            found = await connecting.list_all(connection, call.caller.user_id)
        return pb.ListConnectionsResponse(
            connections=[_connection(one, self.pushing) for one in found]
        )

    async def get_connection(self, request: pb.GetConnectionRequest, call: Call) -> pb.Connection:
        """See the contract."""
        async with self.engine.connect() as connection:
            found = await connecting.get(connection, call.caller.user_id, request.source)
        return _connection(found, self.pushing)

    async def delete_connection(
        self, request: pb.DeleteConnectionRequest, call: Call
    ) -> pb.DeleteConnectionResponse:
        """See the contract."""
        async with self.engine.begin() as connection:
            await connecting.disconnect(
                connection, call.caller.user_id, request.source, now=clock.utc_now()
            )
        return pb.DeleteConnectionResponse(
            source=request.source, status=pb.DeleteConnectionResponse.disconnected
        )


def _plain(request: pb.PutConnectionRequest, field: str) -> dict[str, Any] | None:
    """A struct as plain values, whole numbers as int; None where it was not sent."""
    if field not in {descriptor.name for descriptor, _ in request.ListFields()}:
        return None
    struct: Struct = getattr(request, field)
    try:
        plain: dict[str, Any] = _whole(json_format.MessageToDict(struct))
    except ValueError:
        raise invalid_argument({field: "must not contain NaN or infinities"}) from None
    return plain


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        # A proto's map has no order; what is said about its entries should have one.
        return {key: _whole(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _connection(connected: connecting.Connected, pushing: Pushing | None) -> pb.Connection:
    row = connected.row
    message = pb.Connection(
        source=row.source,
        state=freshness.connection_state(row, connected.parts),
        has_credentials=row.credentials is not None,
    )
    if row.account:
        message.account = row.account
    message.scopes.extend(row.scopes or ())
    message.missing_scopes.extend(row.missing_scopes)
    set_instant(message.expires_at, row.expires_at)
    message.warnings.extend(freshness.connection_warnings(row, clock.utc_now()))
    message.settings.SetInParent()  # shown where there are none, too
    message.settings.update(row.settings)
    set_instant(message.connected_at, row.connected_at)
    set_instant(message.last_success, row.last_success_at)
    set_instant(message.retry_after, row.retry_at)
    if row.error_code:
        message.error, message.message = row.error_code, row.error_message or ""
    for known in connected.parts:
        part = message.parts.add(
            name=known.part, state=freshness.part_state(known), failures=known.failures
        )
        if known.title:
            part.title = known.title
        if known.url:
            part.url = known.url
        if known.error_code:
            part.error, part.message = known.error_code, known.error_message or ""
        set_instant(part.last_success, known.last_success_at)
        set_instant(part.gap_until, known.gap_until)
        waits = [at for at in (known.next_attempt_at, known.retry_at) if at is not None]
        if not known.permanent:
            set_instant(part.next_attempt, max(waits, default=None))
    if pushing is not None:
        _add_pushes(message, connected, pushing)
    return message


def _add_pushes(message: pb.Connection, connected: connecting.Connected, pushing: Pushing) -> None:
    parts = {part.name: part for part in message.parts}
    for row in connected.pushed:
        if row.hub is None:
            with contextlib.suppress(CannotDecrypt):  # it gets another when it is connected again
                message.webhook.url = pushing.url(row)
                _set_push(message.webhook, row)
        elif row.part in parts:
            parts[row.part].push.hub = row.hub
            _set_push(parts[row.part].push, row)


def _set_push(push: pb.Connection.Push, row: Row[Any]) -> None:
    push.state = row.state
    if row.message:
        push.message = row.message
    set_instant(push.until, row.lease_until if row.state == "active" else None)
    set_instant(push.last_delivery, row.last_delivery_at)
