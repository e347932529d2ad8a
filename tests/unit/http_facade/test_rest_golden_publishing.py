"""The shapes of seed 001's tables through the codec: every field, in the seed's order, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message

from distill_grpc.proto.distill.publishing.v1 import comment_service_pb2 as comments
from distill_grpc.proto.distill.publishing.v1 import post_service_pb2 as posts
from distill_grpc.proto.distill.publishing.v1 import subscription_service_pb2 as subscriptions
from distill_grpc.proto.distill.publishing.v1 import user_service_pb2 as users
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import render, status_of
from http_facade.json_decoding import decode
from http_facade.json_encoding import encode

GOLDEN = Path(__file__).parents[2] / "golden" / "seed_001"

# file → its message; of a list, that of an element.
EXAMPLES: dict[str, type[Message]] = {
    "register_request": users.RegisterRequest,
    "register": users.User,
    "login_request": users.LoginRequest,
    "login": users.LoginResponse,
    "user": users.User,
    "user_update": users.User,
    "post_request": posts.CreatePostRequest,
    "post_created": posts.Post,
    "post": posts.Post,
    "post_update": posts.Post,
    "posts": posts.Post,
    "comment_created": comments.Comment,
    "comments": comments.Comment,
    "subscription": subscriptions.Subscription,
    "subscriptions": subscriptions.Subscription,
}
# What the path holds is no part of these bodies.
IN_PATH: dict[str, type[Message]] = {
    "user_update_request": users.UpdateUserRequest,
    "post_update_request": posts.UpdatePostRequest,
    "comment_request": comments.CreateCommentRequest,
}


def example(name: str) -> Any:
    return json.loads(GOLDEN.joinpath(f"{name}.json").read_text())


def printed(message: Message) -> Any:
    return json.loads(orjson.dumps(encode(message)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_shape_of_the_seed_survives_reading_and_printing(name: str) -> None:
    like = example(name)
    for one in like if isinstance(like, list) else [like]:
        message = EXAMPLES[name]()
        assert decode(one, message) == {}
        assert printed(message) == one
        assert list(encode(message)) == list(one)


@pytest.mark.parametrize("name", IN_PATH)
def test_a_body_of_the_seed_is_read(name: str) -> None:
    message = IN_PATH[name]()
    assert decode(example(name), message) == {}
    shown = printed(message)
    assert {key: shown[key] for key in example(name)} == example(name)


def test_the_error_body_is_the_seeds() -> None:
    like = example("error")
    status = status_of(ErrorReason.INVALID_ARGUMENT, like["detail"], details=like["field_errors"])
    answer = render(status, {}, path="/api/v1/posts")
    assert (answer.http_status, answer.body) == (400, like)
    assert list(answer.body) == list(like)


def test_every_golden_file_is_used() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*EXAMPLES, *IN_PATH, "error"}
