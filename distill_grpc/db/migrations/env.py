"""Alembic's environment: runs on the connection that `migrate.py` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context


def ours(_object: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """The queue's tables belong to procrastinate, whose schema is not modelled here."""
    return not (kind == "table" and (name or "").startswith("procrastinate_"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("target_metadata"),
    include_object=ours,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
