"""Vocabularies of tags, and by which revision of them an item was tagged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tag_vocabularies",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_tag_vocabularies")),
    )
    op.add_column("items", sa.Column("source_tags", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column("items", sa.Column("tag_revision", sa.Integer(), nullable=True))
