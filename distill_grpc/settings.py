"""Every setting, once: its variable, its meaning, its default, and what is allowed.

Read from the environment and from `.env` in the working directory. `load()` raises `SettingsError`
with one line that names the variable; the README's table is held against this class by a test.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from distill_grpc.clock import parse_duration

# Fields whose values may hold secrets, and are never shown.
_SECRET = frozenset(
    {
        "encryption_keys",
        "database_url",
        "redis_url",
        "openai_api_key",
        "embedding_api_key",
        "smtp_url",
        "amqp_url",
        "service_jwt",
        "token_service_url",
        "github_api_url",
        "youtube_api_url",
        "x_api_url",
        "google_token_url",
    }
)
# What a flag may be; messages name 0 and 1 alone, which are enough to know.
_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True)
_FLAGS |= dict.fromkeys(("0", "false", "no", "off"), False)


class SettingsError(Exception):
    """A setting is wrong; the text is one line for the person who set it."""


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() not in _FLAGS:
        raise ValueError("must be 0 or 1")
    return _FLAGS[value.lower()]


def _empty_is_unset(value: Any) -> Any:
    return None if value == "" else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_unset)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_unset)]


class Settings(BaseSettings):
    """What an operator can choose. Each field is the variable `DISTILL_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="DISTILL_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    database_url: OptionalText = Field(
        None,
        description="PostgreSQL, `postgresql://…`; unset: embedded PostgreSQL in the data directory",
    )
    data_dir: Path = Field(
        Path(".distill"),
        description="where the embedded database and the local keys live; unset with DISTILL_MOCK: "
        "`.distill-mock`",
    )
    http_address: str = Field("127.0.0.1:8080", description="the REST facade's address")
    grpc_address: str = Field("127.0.0.1:50051", description="the gRPC core's address")
    public_url: OptionalText = Field(
        None,
        description="the REST facade's address as the world sees it, `https://…`: for links in mails and "
        "feeds, and for platforms that push; unset: `http://` and DISTILL_HTTP_ADDRESS, and nothing pushes",
    )
    service_name: OptionalText = Field(
        None,
        description="name in `/api` and `/capabilities`; unset: `distill`, or `<source>-feeder` "
        "where one source is enabled",
    )
    sources: Names = Field(
        (),
        description="comma-separated sources that this instance serves; unset: all that are built in",
    )
    mock: Flag = Field(
        False, description="`1`: platforms are played by mock data, and errors can be simulated"
    )
    jwt_jwks_url: OptionalText = Field(
        None, description="the token issuer's keys (Clerk); unset: the local issuer's keys"
    )
    jwt_issuer: OptionalText = Field(
        None, description="required `iss`; unset: not checked beyond the local issuer"
    )
    jwt_audience: OptionalText = Field(None, description="required `aud`")
    jwt_authorized_parties: Names = Field((), description="allowed `azp`, comma-separated")
    local_issuer: Flag = Field(
        True,
        description="`1`: tokens of the local issuer open everything; `0`: they open `/api/v1` only; "
        "unset: `1` where no JWKS URL is set, else `0`",
    )
    auth_action_url: OptionalText = Field(
        None, description="`action_url` in `authentication_failed`"
    )
    encryption_keys: Names = Field(
        (),
        description="comma-separated keys for stored credentials, newest first, each 32 bytes in "
        "base64; unset: a key made in the data directory",
    )
    token_service_url: OptionalText = Field(
        None,
        description="the central auth service that hands out platform tokens; unset: only "
        "credentials stored here",
    )
    service_jwt: OptionalSecret = Field(None, description="bearer token for it")
    github_api_url: OptionalText = Field(
        None, description="GitHub's API root, such as an enterprise host; unset: the public one"
    )
    youtube_api_url: OptionalText = Field(
        None, description="YouTube's API root; unset: the public one"
    )
    x_api_url: OptionalText = Field(None, description="X's API root; unset: the public one")
    google_token_url: OptionalText = Field(
        None, description="where Google's tokens are renewed; unset: the public address"
    )
    api_calls_per_minute: int = Field(
        100, ge=1, le=1_000_000, description="incoming calls per user and minute"
    )
    sync_frequency: Duration = Field(
        timedelta(minutes=30), description="default time between syncs, 5m to 24h"
    )
    sync_min_interval: Duration = Field(
        timedelta(minutes=5),
        description="a sync asked for sooner than this after the last one, without `force`, is "
        "`rate_limited`",
    )
    raw_retention: Duration = Field(
        timedelta(days=7), description="how long items and their raw data are kept"
    )
    summary_retention: Duration = Field(
        timedelta(days=30), description="how long summaries are kept"
    )
    openai_api_key: OptionalText = Field(
        None,
        repr=False,
        validation_alias=AliasChoices("DISTILL_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="key for an OpenAI-compatible API (or `OPENAI_API_KEY`); local servers need none",
    )
    openai_base_url: OptionalText = Field(
        None,
        validation_alias=AliasChoices("DISTILL_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="that API's address (or `OPENAI_BASE_URL`); unset: OpenAI's own",
    )
    summary_model: OptionalText = Field(
        None,
        description="the model that words digests and answers, and tags for who wants that; unset: "
        "all of it is done offline",
    )
    embedding_model: OptionalText = Field(
        None,
        description="the model that makes items findable by meaning (needs pgvector); unset: by words alone",
    )
    embedding_base_url: OptionalText = Field(
        None, description="its API's address; unset: DISTILL_OPENAI_BASE_URL"
    )
    embedding_api_key: OptionalText = Field(
        None,
        repr=False,
        description="key for that API; unset: DISTILL_OPENAI_API_KEY, but not at another address",
    )
    embedding_dimensions: Annotated[int | None, BeforeValidator(_empty_is_unset)] = Field(
        None,
        ge=1,
        le=16_000,
        description="numbers in a vector, for models that leave the choice; unset: what the model gives",
    )
    embedding_text_prefix: OptionalText = Field(
        None,
        description="words that the model wants before each text, one blank for none; unset: those of "
        "its family, where that is known",
    )
    embedding_query_prefix: OptionalText = Field(
        None, description="words that it wants before each query, likewise"
    )
    embedding_floor: float = Field(
        0.25,
        ge=-1,
        le=1,
        description="cosine from which an item may count as found by meaning; fits the model",
    )
    embedding_price: float = Field(
        0.0, ge=0, le=10_000, description="US dollars for a million tokens that it reads"
    )
    llm_daily_tokens: int = Field(
        200_000, ge=0, le=1_000_000_000, description="tokens that one user may use on one day (UTC)"
    )
    llm_input_price: float = Field(
        0.0, ge=0, le=10_000, description="US dollars for a million tokens that a model reads"
    )
    llm_output_price: float = Field(
        0.0, ge=0, le=10_000, description="US dollars for a million tokens that a model writes"
    )
    smtp_url: OptionalText = Field(
        None,
        repr=False,
        description="where mail goes, `smtp://user:password@host:587` or `smtps://…`; unset: mail is "
        "logged (recipient masked), not sent",
    )
    mail_from: str = Field("distill@localhost", description="the sender of mail")
    mails_per_second: float = Field(
        10.0, gt=0, le=10_000, description="mails about posts that one worker sends in a second"
    )
    websub_hub: OptionalText = Field(
        None,
        description="the WebSub hub that creators' feeds name and that is told of new posts; unset: none",
    )
    amqp_url: OptionalText = Field(
        None,
        repr=False,
        description="RabbitMQ for the publishing platform's jobs, `amqp://user:password@host:5672/`; "
        "unset: the PostgreSQL queue",
    )
    allow_private_addresses: Flag = Field(
        False, description="`1`: user-given URLs may point at private or loopback addresses"
    )
    redis_url: OptionalText = Field(
        None,
        description="shared counters for a fleet; unset: shared by the processes of one machine",
    )
    trusted_proxies: Names = Field(
        (),
        description="addresses or networks of proxies, doors and facades whose `X-Forwarded-For` is "
        "believed, comma-separated; unset: none",
    )
    logins_per_minute: int = Field(
        20, ge=1, le=100_000, description="logins at `/api/v1` per address and minute"
    )
    registrations_per_hour: int = Field(
        10,
        ge=1,
        le=100_000,
        description="attempts to make an account at `/api/v1` per address and hour",
    )
    cors_origins: Names = Field(
        (), description="origins that browsers may call from, comma-separated, or `*`; unset: none"
    )
    grpc_reflection: Literal["auto", "0", "1"] = Field(
        "auto", description="gRPC server reflection; `auto`: only on a loopback address"
    )
    drain: Duration = Field(
        timedelta(seconds=5),
        description="how long `distill core` and `distill facade` serve on, as unhealthy, when they "
        "are told to stop, so that load balancers leave them; up to 5m, `0s`: not at all",
    )
    processes: int = Field(
        0,
        ge=0,
        le=64,
        description="serving processes of `distill serve`; `0`: one for each CPU core",
    )
    worker_concurrency: int = Field(
        8, ge=1, le=256, description="syncs that one worker runs side by side"
    )
    log_format: Literal["json", "console", "auto"] = Field(
        "auto", description="`json` or `console`; `auto`: `console` on a terminal, else `json`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info`, `warning` or `error`"
    )

    @field_validator("http_address", "grpc_address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError("must be host:port, such as 127.0.0.1:8080")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"postgresql", "postgres"}:
            raise ValueError("must be a PostgreSQL address, postgresql://user@host/name")
        return value

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+", value):
            raise ValueError("must be a mail address, such as distill@example.org")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp(cls, value: str | None) -> str | None:
        parts = urlsplit(value) if value is not None else None
        if parts is not None and (parts.scheme not in {"smtp", "smtps"} or not parts.hostname):
            raise ValueError("must be a mail server's address, smtp://user:password@host:587")
        return value

    @field_validator("amqp_url")
    @classmethod
    def _check_amqp(cls, value: str | None) -> str | None:
        parts = urlsplit(value) if value is not None else None
        if parts is not None and (parts.scheme not in {"amqp", "amqps"} or not parts.hostname):
            raise ValueError("must be a RabbitMQ address, amqp://user:password@host:5672/")
        return value

    @field_validator(
        "jwt_jwks_url", "auth_action_url", "openai_base_url", "embedding_base_url", "websub_hub"
    )
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"http", "https"}:
            raise ValueError("must be an http or https address")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or len(value) > 500:
            raise ValueError("must be an http or https address, https://distill.example.com")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must have no query, fragment, user name or password")
        return value.rstrip("/")

    @field_validator(
        "token_service_url", "github_api_url", "youtube_api_url", "x_api_url", "google_token_url"
    )
    @classmethod
    def _check_root(cls, value: str | None) -> str | None:
        if value is None:
            return None
        rule = "must be an http or https address without user name, query and fragment"
        parts = urlsplit(value)
        try:
            port = parts.port
        except ValueError:
            raise ValueError(rule) from None
        plain = not (parts.query or parts.fragment or "@" in parts.netloc) and port != 0
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise ValueError(rule)
        return value.rstrip("/")

    @field_validator("service_jwt")
    @classmethod
    def _check_jwt(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else "-"
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("must be a token without spaces and line ends")
        return value

    @model_validator(mode="after")
    def _token_service_needs_our_token(self) -> Settings:
        if self.token_service_url is not None and self.service_jwt is None:
            raise ValueError("DISTILL_SERVICE_JWT: must be set with DISTILL_TOKEN_SERVICE_URL")
        return self

    @property
    def api_urls(self) -> dict[str, str]:
        """The platforms' API roots that are not the public ones, by source."""
        told = {"github": self.github_api_url, "youtube": self.youtube_api_url, "x": self.x_api_url}
        return {name: url for name, url in told.items() if url is not None}

    @property
    def embedding_key(self) -> str | None:
        """The key for the embeddings' API; that of another server is not sent there."""
        if self.embedding_api_key or self.embedding_base_url:
            return self.embedding_api_key
        return self.openai_api_key

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must be a Redis address, redis://host:port/0")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for text in value:
                ip_network(text)
        except ValueError:
            raise ValueError("must be addresses or networks, such as 10.0.0.0/8, ::1") from None
        return value

    @field_validator("sync_frequency")
    @classmethod
    def _check_frequency(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=5) <= value <= timedelta(hours=24):
            raise ValueError("must be from 5m to 24h")
        return value

    @field_validator("drain")
    @classmethod
    def _check_drain(cls, value: timedelta) -> timedelta:
        if not timedelta(0) <= value <= timedelta(minutes=5):
            raise ValueError("must be from 0s to 5m")
        return value

    @field_validator("raw_retention", "summary_retention")
    @classmethod
    def _check_retention(cls, value: timedelta) -> timedelta:
        if value < timedelta(hours=1):
            raise ValueError("must be at least 1h")
        return value

    @model_validator(mode="after")
    def _model_needs_a_server(self) -> Settings:
        if self.summary_model and not (self.openai_api_key or self.openai_base_url):
            raise ValueError(
                "DISTILL_SUMMARY_MODEL: needs DISTILL_OPENAI_API_KEY or DISTILL_OPENAI_BASE_URL"
            )
        if self.embedding_model and not any(
            (self.embedding_base_url, self.openai_api_key, self.openai_base_url)
        ):
            raise ValueError(
                "DISTILL_EMBEDDING_MODEL: needs DISTILL_EMBEDDING_BASE_URL, DISTILL_OPENAI_API_KEY "
                "or DISTILL_OPENAI_BASE_URL"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _local_issuer_follows_jwks(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("local_issuer") in {None, ""}:
            values["local_issuer"] = not values.get("jwt_jwks_url")
        return values

    @model_validator(mode="before")
    @classmethod
    def _mock_data_lies_apart(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("data_dir") in {None, ""}:
            mock = _FLAGS.get(str(values.get("mock")).lower(), False)
            values["data_dir"] = Path(".distill-mock" if mock else ".distill")
        return values


def load(**overrides: Any) -> Settings:
    """The settings of this process. Raises `SettingsError` where one is wrong."""
    try:
        return Settings(**overrides)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        rule = str(first["msg"]).removeprefix("Value error, ")
        told = f"{variable(field)}: {_allowed(field, rule)}" if field else rule
        raise SettingsError(told) from None


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"DISTILL_{field.upper().removeprefix('DISTILL_')}"


def _allowed(field: str, rule: str) -> str:
    shown = os.environ.get(variable(field), "")
    return rule if _is_secret(field) or not shown else f"{rule} (it is {shown!r})"


def _is_secret(field: str) -> bool:
    return field.lower().removeprefix("distill_") in _SECRET
