"""Every RPC, every field that names something, whoever's it is, at every door: nothing leaks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from distill_grpc.proto import contract
from tests.conformance.asking import EVERY_DOOR, AnyDoor, Told, ask
from tests.conformance.calls import requests
from tests.conformance.isolation_table import OK, ROWS
from tests.conformance.isolation_world import ASKER, TAINT, VICTIM, World, populate
from tests.service import Service

Json = Any

# The publishing platform has a matrix of its own, of roles (`publishing/test_permissions.py`).
RPCS = [rpc for rpc in contract.rpcs() if rpc.package == "distill.v1"]
NAMED = [rpc for rpc in RPCS if ROWS.get(rpc.full_name) and ROWS[rpc.full_name].ids]
_TEXT = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
# RPCs that take from the asker what later calls need.
_CHANGES = {
    "Unwatch",
    "DeleteConnection",
    "PutConnection",
    "CreateDigestFeed",
    "DeleteDigestFeed",
    "UpdateTagVocabulary",
}
# The time, and how far the asker's own syncs are, which go on meanwhile.
_CHANGING = re.compile(
    r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|"completeness": ?[\d.]+|"freshness": ?"[^"]*",?'
    r'|"warnings": ?\[[^\]]*\],?'
)


@pytest.fixture(scope="module")
async def world(shared: Service) -> World:
    return await populate(shared)


def names(descriptor: Descriptor, before: str = "") -> Iterator[str]:
    """The path of every field of a request that can hold text, and so a name."""
    for field in descriptor.fields:
        path = f"{before}{field.name}"
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("distill."):
            yield from names(inner, f"{path}.")
        elif field.type in _TEXT or (inner and inner.full_name == "google.protobuf.Struct"):
            yield path


@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_the_table_says_what_is_expected_of_every_field(rpc: contract.Rpc) -> None:
    row = ROWS[rpc.full_name]
    assert set(row.ids) | row.free == set(names(rpc.descriptor.input_type))
    assert not set(row.ids) & row.free


def test_the_table_has_no_row_too_many() -> None:
    assert set(ROWS) == {rpc.full_name for rpc in RPCS}


@pytest.mark.parametrize("rpc", NAMED, ids=lambda rpc: rpc.name)
@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_each_cell_answers_as_the_table_says(
    world: World, door: AnyDoor, rpc: contract.Rpc
) -> None:
    for name, expected in ROWS[rpc.full_name].ids.items():
        values = world.values(rpc.full_name, name)
        own = await asked(world, door, rpc, name, values.own)
        assert own.code == expected.own, (name, own.text)
        other = await asked(world, door, rpc, name, values.other)
        unknown = await asked(world, door, rpc, name, values.unknown)
        assert other.code == expected.other, (name, other.text)
        if expected.alike:
            assert comparable(other, values.other) == comparable(unknown, values.unknown)
        for value in values.malformed:
            told = await asked(world, door, rpc, name, value)
            assert told.code in expected.malformed, (name, value, told.text)


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_no_rpc_tells_one_user_anything_of_another(world: World, door: AnyDoor) -> None:
    seen = {VICTIM: "", ASKER: ""}
    for user, stranger in ((VICTIM, ASKER), (ASKER, VICTIM)):
        job = world.ids[user].job
        for full_name in requests(job):
            if full_name.rpartition("/")[2] in _CHANGES:
                continue  # what these answer is the matrix' business; here nothing is to change
            rpc = contract.rpc(full_name)
            fields = base(rpc, job)
            if "limit" in fields:
                fields["limit"] = 500
            told = await ask(world.service, door, rpc, fields, user=user)
            leaks(told, world, stranger)
            seen[user] += told.text
    # The marks can be seen where they belong, or the scan would find nothing whatever leaked.
    for user, text in seen.items():
        assert TAINT[user] in text
        assert world.ids[user].job in text
        assert world.ids[user].item in text


async def test_nothing_that_was_asked_changed_what_is_anothers(
    world: World, shared: Service
) -> None:
    before = await world.state_of(VICTIM)
    for rpc in NAMED:
        for name in ROWS[rpc.full_name].ids:
            values = world.values(rpc.full_name, name)
            for door in EVERY_DOOR:
                await asked(world, door, rpc, name, values.other)
    await shared.call("POST", "/unwatch", user=ASKER)
    assert await world.state_of(VICTIM) == before
    await shared.call("POST", "/watch", user=ASKER)


async def asked(world: World, door: AnyDoor, rpc: contract.Rpc, name: str, value: Json) -> Told:
    """The asker's request with this value in one field; never leaks, whatever the value is."""
    await world.before(rpc.full_name)
    fields = {**base(rpc, world.ids[ASKER].job), name: value}
    told = await ask(world.service, door, rpc, fields, user=ASKER)
    leaks(told, world, VICTIM, sent=value)
    return told


def base(rpc: contract.Rpc, job: str) -> dict[str, Json]:
    """A good request as JSON; where it can be paged, the one whose page tokens the users have."""
    fields = {field.name for field in rpc.descriptor.input_type.fields}
    if "page_token" in fields:
        wanted = {"limit": 1, "query": "story"}
        return {name: value for name, value in wanted.items() if name in fields}
    if rpc.name in {"GetSummary", "RegenerateSummary"}:
        return {"period": "daily"}
    request = requests(job)[rpc.full_name]
    return dict(json_format.MessageToDict(request, preserving_proto_field_name=True))


def leaks(told: Told, world: World, stranger: str, sent: Json = "") -> None:
    """Fails where an answer holds anything of the stranger that the asker did not send."""
    text = without(told.text, sent) + json.dumps(dict(told.headers))
    found = [secret for secret in world.secrets_of(stranger) if secret and secret in text]
    assert not found, text[:2000]


def comparable(told: Told, sent: Json) -> Json:
    """An answer without what any two answers differ in: what was asked for, and the time."""
    return told.code, _CHANGING.sub("…", without(told.text, sent)), told.headers


def without(text: str, sent: Json) -> str:
    for one in sent if isinstance(sent, list) else [sent]:
        if one:
            text = text.replace(str(one), "…")
    return text


def test_what_is_asked_for_is_well_chosen(world: World) -> None:
    """Every value that stands for another user's differs from one's own and from nobody's."""
    for rpc in NAMED:
        for name in ROWS[rpc.full_name].ids:
            values = world.values(rpc.full_name, name)
            assert values.own != values.other != values.unknown != values.own
            assert values.malformed
    assert OK in {ids.own for row in ROWS.values() for ids in row.ids.values()}
