"""Accounts at platforms: whose they are, their tokens, what may be spent of their limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NONE = sa.text("'{}'")


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    texts = postgresql.ARRAY(sa.Text())
    op.add_column("connections", sa.Column("account_id", sa.Text(), nullable=True))
    op.add_column("connections", sa.Column("scopes", texts, nullable=True))
    op.add_column(
        "connections", sa.Column("missing_scopes", texts, nullable=False, server_default=_NONE)
    )
    op.add_column("connections", sa.Column("expires_at", instant, nullable=True))
    op.add_column("connection_parts", sa.Column("gap_until", instant, nullable=True))
    op.add_column(
        "sync_run_sources",
        sa.Column("items_deleted", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "platform_tokens",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("tokens", sa.LargeBinary(), nullable=True),
        sa.Column("good_until", instant, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id", "source"],
            ["connections.user_id", "connections.source"],
            name=op.f("fk_platform_tokens_user_id_source"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "source", name=op.f("pk_platform_tokens")),
    )
    op.create_table(
        "platform_budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("spender", sa.String(length=255), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("strategy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("name", "holder", "spender", name=op.f("pk_platform_budgets")),
        # Rows change before every request; with room on the page no index has to.
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_platform_budgets_spender",
        "platform_budgets",
        ["spender"],
        postgresql_where=sa.text("spender <> ''"),
    )
