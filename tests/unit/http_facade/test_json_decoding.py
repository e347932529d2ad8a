"""Bodies: what is taken, and the words in which everything else is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.proto.distill.v1.connection_service_pb2 import PutConnectionRequest
from distill_grpc.proto.distill.v1.content_service_pb2 import Item, SearchRequest
from distill_grpc.proto.distill.v1.discovery_service_pb2 import ParameterDoc
from distill_grpc.proto.distill.v1.sync_service_pb2 import SyncRequest
from distill_grpc.proto.distill.v1.watch_service_pb2 import WatchRequest, WatchResponse
from http_facade.errors import Refusal, render
from http_facade.json_decoding import decode
from http_facade.json_text import parse_object


def problems(body: Any, message: Message) -> dict[str, str]:
    return decode(body, message)


def body_rule(raw: bytes) -> dict[str, str]:
    with pytest.raises(Refusal) as refused:
        parse_object(raw)
    answer = render(refused.value.status, {}, path="/watch")
    assert answer.http_status == 400
    assert answer.body["error"] == "invalid_argument"
    return answer.body["details"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("raw", [b"", b"  \r\n\t ", b"{}"])
def test_an_empty_body_stands_for_an_empty_object(raw: bytes) -> None:
    assert parse_object(raw) == {}


@pytest.mark.parametrize("raw", [b"[]", b"null", b"3", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    assert body_rule(raw) == {"body": "must be a JSON object"}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "must be JSON"),
        (b'{"a": 1,}', "must be JSON"),
        (b"{'a': 1}", "must be JSON"),
        (b'{"a": 1} {}', "must be JSON"),
        (b"\xef\xbb\xbf{}", "must be JSON"),
        (b'{"a": "\x01"}', "must be JSON"),
        (b'{"a": NaN}', "no NaN"),
        (b'{"a": -Infinity}', "no -Infinity"),
        (b'{"a": 1e400}', "as large as 1e400"),
        (b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"a": "\xff"}', "must be UTF-8"),
        (b'{"a": 1, "b": 2, "a": 3}', 'must not name "a" twice'),
        (b'{"x": {"a": 1, "a": 1}}', 'must not name "a" twice'),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64"),
        (b"[" * 100_000, "nested deeper than 64"),
    ],
)
def test_text_that_is_no_strict_json_is_refused_in_words(raw: bytes, words: str) -> None:
    assert words in body_rule(raw)["body"]


def test_nesting_up_to_the_limit_is_taken_and_brackets_in_text_do_not_count() -> None:
    raw = b'{"a":' * 64 + b'"' + b"[{" * 100 + b'"' + b"}" * 64
    assert parse_object(raw)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"settings": {"feeds": ["ok", "a\0b"]}}, "settings.feeds[1]"),
        ({"settings": {"a\0": 1}}, "settings"),
        ({"a": {"b": "\ud800"}}, "a.b"),
    ],
)
def test_nul_and_half_surrogates_are_refused_wherever_they_stand(
    body: dict[str, Any], where: str
) -> None:
    found = body_rule(json.dumps(body).encode())
    assert list(found) == [where]
    assert found[where].startswith("must not contain")


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    assert parse_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_an_unknown_field_is_named_with_what_is_allowed() -> None:
    assert problems({"options": {"backfil_days": 7}}, WatchRequest()) == {
        "options.backfil_days": "unknown field; allowed: backfill_days, sync_frequency"
    }
    assert problems({"optionz": {}}, WatchRequest()) == {
        "optionz": "unknown field; allowed: options"
    }


def test_every_wrong_field_is_named_at_once() -> None:
    found = problems({"force": "yes", "types": ["a", 3, None], "more": 1}, SyncRequest())
    assert found == {
        "force": "must be true or false",
        "types[1]": "must be a string",
        "types[2]": "must be a string",
        "more": "unknown field; allowed: force, types",
    }


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("7", "must be a whole number"),
        (True, "must be a whole number"),
        (7.5, "must be a whole number"),
        ([7], "must be a whole number"),
        (2**31, "must be from -2147483648 to 2147483647"),
        (-(2**31) - 1, "must be from -2147483648 to 2147483647"),
    ],
)
def test_nothing_is_coerced_to_an_integer(value: Any, rule: str) -> None:
    found = problems({"options": {"backfill_days": value}}, WatchRequest())
    assert found == {"options.backfill_days": rule}


def test_a_whole_number_may_be_written_with_a_fraction_of_zero() -> None:
    message = WatchRequest()
    assert problems({"options": {"backfill_days": 3.0}}, message) == {}
    assert message.options.backfill_days == 3


@pytest.mark.parametrize(
    ("body", "message", "rule"),
    [
        ({"options": []}, WatchRequest(), {"options": "must be an object"}),
        ({"types": "a"}, SyncRequest(), {"types": "must be a list"}),
        ({"types": {"a": 1}}, SyncRequest(), {"types": "must be a list"}),
        ({"settings": []}, PutConnectionRequest(), {"settings": "must be an object"}),
        ({"query": 3}, SearchRequest(), {"query": "must be a string"}),
        ({"metrics": 1}, Item(), {"metrics": "must be an object"}),
        ({"metrics": {"a": "1"}}, Item(), {"metrics.a": "must be a number"}),
        (
            {"metrics": {"a": 10**400}},
            Item(),
            {"metrics.a": "must be a number that a double can hold"},
        ),
        (
            {"settings": {"id": 2**53 + 1}},
            PutConnectionRequest(),
            {"settings.id": "whole numbers beyond 2^53 lose digits here; send it as a string"},
        ),
    ],
)
def test_a_wrong_type_is_named_with_what_is_expected(
    body: Any, message: Message, rule: dict[str, str]
) -> None:
    assert problems(body, message) == rule


def test_null_stands_for_unset_everywhere_but_in_free_values() -> None:
    search = SearchRequest()
    nothing = {"query": None, "sources": None, "since": None, "limit": None}
    assert problems(nothing, search) == {}
    assert search == SearchRequest()
    parameter = ParameterDoc()
    assert problems({"default": None}, parameter) == {}
    assert parameter.default.WhichOneof("kind") == "null_value"


def test_an_empty_object_sets_a_message_and_zero_sets_an_optional_number() -> None:
    message = WatchRequest()
    assert problems({"options": {"backfill_days": 0}}, message) == {}
    assert message.options.HasField("backfill_days")
    empty = WatchRequest()
    assert problems({"options": {}}, empty) == {}
    assert empty.HasField("options")


def test_an_enumerator_is_read_by_its_name() -> None:
    message = WatchResponse()
    assert problems({"status": "watching"}, message) == {}
    assert message.status == WatchResponse.watching


@pytest.mark.parametrize(
    "value", ["watchin", "WATCHING", "Watching", "status_unspecified", 1, None, ""]
)
def test_what_is_no_enumerator_is_refused_with_the_choice(value: Any) -> None:
    found = problems({"status": value}, WatchResponse())
    rule = "must be one of: watching, already_watching"
    assert found == ({} if value is None else {"status": rule})


@pytest.mark.parametrize(
    ("given", "seconds", "nanos"),
    [
        ("2024-01-10T10:00:00Z", 1_704_880_800, 0),
        ("2024-01-10t10:00:00z", 1_704_880_800, 0),
        ("2024-01-10T12:00:00+02:00", 1_704_880_800, 0),
        ("2024-01-10T04:30:00.25-05:30", 1_704_880_800, 250_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
    ],
)
def test_instants_are_read_with_their_offset(given: str, seconds: int, nanos: int) -> None:
    message = SearchRequest()
    assert problems({"since": given}, message) == {}
    assert (message.since.seconds, message.since.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "given",
    [
        "2024-01-10",
        "2024-01-10T10:00:00",
        "2024-01-10 10:00:00Z",
        "2024-13-10T10:00:00Z",
        "2024-01-10T25:00:00Z",
        "2024-01-10T10:00:60Z",
        "2024-01-10T10:00:00+24:00",
        "2024-01-10T10:00:00.1234567890Z",
        "0001-01-01T00:00:00+01:00",
        "٢٠٢٤-01-10T10:00:00Z",
        1_704_880_800,
        "",
    ],
)
def test_what_is_no_instant_with_offset_is_refused(given: Any) -> None:
    found = problems({"since": given}, SearchRequest())
    assert found["since"].startswith("must be an instant with its offset")


def test_a_long_or_unprintable_name_is_shown_cut_and_escaped() -> None:
    found = problems({"a" * 500: 1, "x\ny": 1}, WatchRequest())
    assert all(len(name) < 100 and "\n" not in name for name in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["options", "backfill_days", "settings", "source", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from([WatchRequest, PutConnectionRequest, SearchRequest, SyncRequest]))
def test_any_json_is_either_read_or_refused_in_words(value: Any, kind: type[Message]) -> None:
    try:
        body = parse_object(json.dumps(value).encode())
    except Refusal:
        return
    assert all(rule for rule in decode(body, kind()).values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_either_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(parse_object(raw), dict)
