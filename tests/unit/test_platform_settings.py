"""Settings of the platforms' addresses and of the token service: checked, and secrets not shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_grpc.settings import SettingsError, load

ROOTS = ("GITHUB_API_URL", "YOUTUBE_API_URL", "X_API_URL", "GOOGLE_TOKEN_URL", "TOKEN_SERVICE_URL")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_SERVICE_JWT", "SEKRET-jwt")


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize(
    "value",
    [
        "ftp://host/api",
        "github.example",
        "https://",
        "https://user:SEKRET@host/",
        "https://host/?key=SEKRET",
        "https://host/#SEKRET",
        "https://host:0/",
        "https://host:99999/",
    ],
)
def test_what_is_no_root_stops_the_start_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DISTILL_{name}", value)
    with pytest.raises(SettingsError) as wrong:
        load()
    assert str(wrong.value).startswith(f"DISTILL_{name}: must be an http or https address")
    assert "SEKRET" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_roots_go_to_the_sources_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_GITHUB_API_URL", "https://ghe.example/api/v3/")
    monkeypatch.setenv("DISTILL_X_API_URL", "http://127.0.0.1:8123")
    assert load().api_urls == {
        "github": "https://ghe.example/api/v3",
        "x": "http://127.0.0.1:8123",
    }


@pytest.mark.parametrize("value", ["two words", "line\nend", "SEKRET ümlaut"])
def test_a_token_that_cannot_be_sent_stops_the_start(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_SERVICE_JWT", value)
    with pytest.raises(SettingsError, match="DISTILL_SERVICE_JWT: must be a token") as wrong:
        load()
    assert value not in str(wrong.value)


def test_a_token_service_needs_our_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_TOKEN_SERVICE_URL", "https://auth.internal")
    assert load().token_service_url == "https://auth.internal"
    monkeypatch.delenv("DISTILL_SERVICE_JWT")
    with pytest.raises(SettingsError, match="DISTILL_SERVICE_JWT: must be set with"):
        load()


def test_our_token_is_in_no_form_of_the_settings() -> None:
    settings = load()
    assert settings.service_jwt is not None
    assert settings.service_jwt.get_secret_value() == "SEKRET-jwt"
    assert "SEKRET" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert "SEKRET" not in settings.model_dump_json()
