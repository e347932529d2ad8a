"""Weekly digests on schedule, tags by a model, and turns: what one process does at a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Whoever has preferences already gets no weekly digest that they did not ask for.
    for name, default in (("daily", "true"), ("weekly", "false"), ("tags_by_model", "false")):
        op.add_column(
            "preferences",
            sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.text(default)),
        )
    op.add_column(
        "preferences",
        sa.Column(
            "authors", postgresql.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")
        ),
    )
    op.add_column(
        "preferences", sa.Column("next_weekly_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("preferences", sa.Column("weekly_date", sa.Date(), nullable=True))
    op.create_index(
        "ix_preferences_weekly_due",
        "preferences",
        ["next_weekly_at"],
        postgresql_where=sa.text("next_weekly_at IS NOT NULL"),
    )
    op.add_column(
        "digest_mails",
        sa.Column("period", sa.String(length=20), nullable=False, server_default="daily"),
    )
    op.drop_constraint("pk_digest_mails", "digest_mails")
    op.create_primary_key("pk_digest_mails", "digest_mails", ["user_id", "period", "date", "tz"])
    op.add_column("items", sa.Column("model_tag_revision", sa.Integer(), nullable=True))
    op.create_table(
        "turns",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("work", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "work", name=op.f("pk_turns")),
    )
