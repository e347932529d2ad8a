"""Mails about posts, and what is counted about posts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "announcements",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fanned_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_announcements_post_id_posts")
        ),
        sa.PrimaryKeyConstraint("post_id", name=op.f("pk_announcements")),
    )
    op.create_table(
        "deliveries",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("subscriber_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'logged', 'refused', 'suppressed', 'cancelled', 'given_up')",
            name=op.f("ck_deliveries_status"),
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (finished_at IS NULL)", name=op.f("ck_deliveries_finished")
        ),
        sa.ForeignKeyConstraint(
            ["post_id"], ["announcements.post_id"], name=op.f("fk_deliveries_post_id_announcements")
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["users.id"], name=op.f("fk_deliveries_subscriber_id_users")
        ),
        sa.PrimaryKeyConstraint("post_id", "subscriber_id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "suppressions",
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "analytics_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.String(length=50), nullable=False),
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("reader", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analytics_events")),
    )
    op.create_index("ix_analytics_events_at", "analytics_events", ["at"], unique=False)
    op.create_table(
        "post_readers",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("reader", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("post_id", "day", "reader", name=op.f("pk_post_readers")),
    )
    op.create_index("ix_post_readers_day", "post_readers", ["day"], unique=False)
    op.create_table(
        "post_days",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("views", sa.BigInteger(), nullable=False),
        sa.Column("readers", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_post_days_post_id_posts")),
        sa.PrimaryKeyConstraint("post_id", "day", name=op.f("pk_post_days")),
    )
    op.create_table(
        "post_totals",
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("views", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_post_totals_post_id_posts")
        ),
        sa.PrimaryKeyConstraint("post_id", name=op.f("pk_post_totals")),
    )
