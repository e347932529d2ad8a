"""The route table: built once from the annotations, so that no path is written down twice.

A template is literal segments and `{name}` segments; after the last may stand `:verb` (AIP-136). Segments
are compared and handed on percent-decoded; a trailing slash makes another path, which is unknown. A path that
a template spells out is that one's alone: `GET /users/login` is no user whose id is `login`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import Refusal, invalid
from http_facade.json_text import text_rule

Target = TypeVar("Target")

# More segments than any template has; keeps the search short whatever is sent.
_MAX_SEGMENTS = 32
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+|\{[a-z][a-z0-9_]*\}", re.ASCII)
_VERB = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)


class RouteError(Exception):
    """The contract's routes cannot be served; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Route(Generic[Target]):
    """One method of one path template, and what answers it."""

    method: str
    template: str
    name: str  # for people: the RPC's wire name
    target: Target

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the path variables, in order."""
        parts = self.template.split("/")
        return tuple(part[1:].partition("}")[0] for part in parts if part.startswith("{"))


@dataclass(slots=True)
class _Node(Generic[Target]):
    literals: dict[str, _Node[Target]] = field(default_factory=dict)
    variable: _Node[Target] | None = None
    verbs: dict[str, _Node[Target]] = field(default_factory=dict)
    routes: dict[str, Route[Target]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match(Generic[Target]):
    """What a path leads to: every method of it, and the route for the method that was used."""

    allowed: tuple[str, ...]
    route: Route[Target] | None
    variables: Mapping[str, str]


class RouteTable(Generic[Target]):
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route[Target]]) -> None:
        """Raises `RouteError` where a template is not understood or a route is claimed twice."""
        self._root: _Node[Target] = _Node()
        self.routes = tuple(routes)
        for route in self.routes:
            self._add(route)
        # Paths without variables, as nearly every client writes them, need no search.
        self._direct = {
            (route.method, route.template): self._search(route.method, route.template)
            for route in self.routes
            if not route.variables
        }

    def find(self, method: str, raw_path: str) -> Match[Target]:
        """The match for a raw (percent-encoded) path; raises `Refusal` (404) where there is none.

        HEAD goes where GET goes. `route` is None where the path exists without the method.
        """
        method = "GET" if method == "HEAD" else method
        return self._direct.get((method, raw_path)) or self._search(method, raw_path)

    def _search(self, method: str, raw_path: str) -> Match[Target]:
        segments = _segments(raw_path)
        found = next(_walk(self._root, segments, ()), None)
        if found is None:
            raise Refusal(ErrorReason.NOT_FOUND, "There is no such path. GET /api lists them.")
        node, values = found
        allowed = _with_implied({*node.routes})
        route = node.routes.get(method)
        if route is None:
            return Match(allowed, None, {})
        return Match(allowed, route, _checked(dict(zip(route.variables, values, strict=True))))

    def _add(self, route: Route[Target]) -> None:
        node = self._root
        parts, verb = _template(route)
        for part in parts:
            if part.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(part, _Node())
        if verb:
            node = node.verbs.setdefault(verb, _Node())
        other = node.routes.get(route.method)
        if other is not None:
            raise RouteError(
                f"{other.name} and {route.name} both claim {route.method} {route.template}"
            )
        node.routes[route.method] = route


def _template(route: Route[Target]) -> tuple[list[str], str]:
    """The segments of a template, and its verb or ""."""
    path, colon, verb = route.template.partition(":")
    head, *parts = path.split("/")
    if head or not parts:
        raise RouteError(f"{route.name}: {route.template!r} does not start with a slash")
    if parts == [""] and not colon:
        return parts, ""
    if colon and not _VERB.fullmatch(verb):
        raise RouteError(f"{route.name}: {route.template!r} is not a template of this facade")
    for part in parts:
        if not _SEGMENT.fullmatch(part):
            raise RouteError(f"{route.name}: {route.template!r} is not a template of this facade")
    return parts, verb


def _segments(raw_path: str) -> list[str]:
    parts = raw_path.split("/")
    if parts[0] or len(parts) > _MAX_SEGMENTS:
        raise Refusal(ErrorReason.NOT_FOUND, "There is no such path. GET /api lists them.")
    return [_decoded(part) if "%" in part else part for part in parts[1:]]


def _decoded(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid({"path": "must be UTF-8, percent-encoded"}) from None


def _walk(
    node: _Node[Target], segments: list[str], values: tuple[str, ...]
) -> Iterator[tuple[_Node[Target], tuple[str, ...]]]:
    """Nodes that the segments lead to, those of verbs and literals first."""
    if not segments:
        if node.routes:
            yield node, values
        return
    first, rest = segments[0], segments[1:]
    name, colon, verb = first.rpartition(":")
    if colon and not rest:
        for found, more in _walk_last(node, name, values):
            if verb in found.verbs:
                yield found.verbs[verb], more
    literal = node.literals.get(first)
    if literal is not None:
        yield from _walk(literal, rest, values)
    if node.variable is not None and first:
        yield from _walk(node.variable, rest, (*values, first))


def _walk_last(
    node: _Node[Target], name: str, values: tuple[str, ...]
) -> Iterator[tuple[_Node[Target], tuple[str, ...]]]:
    """Where a last segment leads that stands before a verb."""
    if name in node.literals:
        yield node.literals[name], values
    if node.variable is not None and name:
        yield node.variable, (*values, name)


def _checked(variables: dict[str, str]) -> dict[str, str]:
    problems = {name: rule for name, text in variables.items() if (rule := text_rule(text))}
    if problems:
        raise invalid(problems)
    return variables


def _with_implied(methods: set[str]) -> tuple[str, ...]:
    implied = {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return tuple(sorted(methods | implied))
