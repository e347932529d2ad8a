"""Pushes of platforms: addresses for them, what was delivered, how reliable hubs are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column("connection_parts", sa.Column("pushed_at", instant, nullable=True))
    op.create_table(
        "push_endpoints",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("part_key", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("hub", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("due_at", instant, nullable=True),
        sa.Column("lease_until", instant, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("misses", sa.Integer(), nullable=False),
        sa.Column("last_delivery_at", instant, nullable=True),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_push_endpoints")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_push_endpoints_key_hash")),
    )
    op.create_index(
        "ix_push_endpoints_due",
        "push_endpoints",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "uq_push_endpoints_part",
        "push_endpoints",
        ["user_id", "source", "part_key"],
        unique=True,
        postgresql_where=sa.text("state <> 'leaving'"),
    )
    op.create_table(
        "push_deliveries",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.String(length=100), nullable=False),
        sa.Column("received_at", instant, nullable=False),
        sa.PrimaryKeyConstraint(
            "user_id", "endpoint_id", "delivery", name=op.f("pk_push_deliveries")
        ),
    )
    op.create_index("ix_push_deliveries_received", "push_deliveries", ["received_at"], unique=False)
    op.create_table(
        "push_hubs",
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("misses", sa.Integer(), nullable=False),
        sa.Column("missed_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("hub", name=op.f("pk_push_hubs")),
    )
