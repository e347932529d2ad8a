"""Whether a transaction may have been committed since someone began to watch.

Where a call is cancelled, its effect can be there only if a commit had begun by then.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import Connection


@dataclass(slots=True)
class Commits:
    """What was seen in one task and those that it started."""

    begun: bool = False


_watched: ContextVar[Commits | None] = ContextVar("commits", default=None)


def watch() -> Commits:
    """Watches from now on what this task commits by any engine of `create_engine`."""
    commits = Commits()
    _watched.set(commits)
    return commits


def note(_: Connection) -> None:
    """A commit is about to be sent."""
    commits = _watched.get()
    if commits is not None:
        commits.begun = True
