"""Which worker listens for hints of an account, and until when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("listener", sa.Uuid(), nullable=True))
    op.add_column(
        "connections", sa.Column("listened_until", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_index(
        "ix_connections_listened",
        "connections",
        ["listened_until"],
        postgresql_where=sa.text("settings @> '{\"idle\": true}'"),
    )
