"""Who may call, and how often: verifiers of tokens and counters of calls."""

from __future__ import annotations

from contextlib import AsyncExitStack
from ipaddress import ip_network

from distill_grpc.app.parts import one_line
from distill_grpc.auth import JwksKeys, LocalIssuer, TokenVerifier, TrustedIssuer
from distill_grpc.publishing.limits import LOGINS_PER_ACCOUNT, Limits
from distill_grpc.ratelimit import CallLimiter, LocalCallLimiter, RedisCallLimiter
from distill_grpc.rpc.addresses import Network
from distill_grpc.settings import Settings


def build_verifiers(
    settings: Settings, issuer: LocalIssuer, stack: AsyncExitStack
) -> dict[str, TokenVerifier]:
    """Whose tokens open which surface: the local issuer's always open `/api/v1`, and nobody else's do."""
    issuers: list[TrustedIssuer] = []
    if settings.local_issuer:
        issuers.append(issuer.trusted())
    if settings.jwt_jwks_url:
        keys = JwksKeys(settings.jwt_jwks_url)
        stack.push_async_callback(keys.close)
        issuers.append(
            TrustedIssuer(
                keys=keys,
                iss=settings.jwt_issuer,
                audience=settings.jwt_audience,
                authorized_parties=frozenset(settings.jwt_authorized_parties),
            )
        )
    with one_line("DISTILL_JWT_ISSUER"):
        return {
            "distill.v1": TokenVerifier(issuers),
            "distill.publishing.v1": TokenVerifier([issuer.trusted()]),
        }


def build_limiter(
    settings: Settings,
    name: str,
    limit: int,
    stack: AsyncExitStack,
    *,
    window: float = 60.0,
    slots: int = 65_536,
) -> CallLimiter:
    """A counter that the processes of this machine share, or in Redis, those of the fleet."""
    folder = settings.data_dir / "run"
    folder.mkdir(parents=True, exist_ok=True)
    limiter: CallLimiter = LocalCallLimiter(folder / name, limit=limit, window=window, slots=slots)
    if settings.redis_url is not None:
        limiter = RedisCallLimiter(
            settings.redis_url, limit=limit, window=window, name=name, fallback=limiter
        )
    stack.push_async_callback(limiter.close)
    return limiter


def build_limits(settings: Settings, stack: AsyncExitStack) -> Limits:
    """What protects the logins and registrations of the publishing platform."""

    def limiter(name: str, limit: int, window: float = 60.0) -> CallLimiter:
        return build_limiter(settings, name, limit, stack, window=window, slots=16_384)

    return Limits(
        logins_per_account=limiter("account-logins", LOGINS_PER_ACCOUNT),
        logins_per_address=limiter("logins", settings.logins_per_minute),
        registrations_per_address=limiter(
            "registrations", settings.registrations_per_hour, window=3600.0
        ),
    )


def trusted_proxies(settings: Settings) -> list[Network]:
    """Whose `X-Forwarded-For` is believed."""
    return [ip_network(text) for text in settings.trusted_proxies]
