"""What we tell schemathesis, by `SCHEMATHESIS_HOOKS`: a check of our own for every answer."""

from __future__ import annotations

import re

import schemathesis

# What tells of the inside: a stack, a statement, a library, an address of a module or a file.
_INSIDE = re.compile(
    r"Traceback|File \"|psycopg|sqlalchemy|asyncpg|\bSELECT \b|\bINSERT INTO\b|grpc\.aio|\.py\b"
)


# Characters before they are percent-encoded, which makes twelve of one at most.
_LONGEST_QUERY = 650


@schemathesis.check
def tells_its_id_and_nothing_of_the_inside(
    ctx: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case,
) -> None:
    """The answer carries a request id and safe headers; an error's text shows no stack and no SQL."""
    told = {name.lower(): values[0] for name, values in response.headers.items()}
    assert told.get("x-request-id"), f"no X-Request-Id on {case.method} {case.path}"
    assert told.get("x-content-type-options") == "nosniff"
    if response.status_code >= 400:
        found = _INSIDE.search(response.text)
        # What a client sent may be repeated in words of its own.
        sent = f"{case.path_parameters} {case.query} {case.body}"
        assert found is None or found[0] in sent, found


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leaves out what the door refuses or takes before the schema counts.

    Bodies of white space, sent as "no JSON", are taken for no body; addresses over 8 KiB answer 414.
    """
    if isinstance(case.body, bytes) and not case.body.strip():
        return False
    return len(str(case.query)) < _LONGEST_QUERY
