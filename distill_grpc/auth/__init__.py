"""Who calls: verification of bearer tokens, the local issuer, and a remote issuer's keys."""

from distill_grpc.auth.claims import Caller
from distill_grpc.auth.errors import InvalidToken, KeysUnavailable
from distill_grpc.auth.jwks import JwksKeys
from distill_grpc.auth.local import LocalIssuer
from distill_grpc.auth.tokens import KeySource, TokenVerifier, TrustedIssuer

__all__ = [
    "Caller",
    "InvalidToken",
    "JwksKeys",
    "KeySource",
    "KeysUnavailable",
    "LocalIssuer",
    "TokenVerifier",
    "TrustedIssuer",
]
