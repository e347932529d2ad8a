"""What items mean: vectors, and whose are to be made.

The column `embeddings.vector` is added by `db/vectors.py` wherever the server has pgvector.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embeddings",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id", "item_id"],
            ["items.user_id", "items.id"],
            name=op.f("fk_embeddings_user_id_item_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "item_id", name=op.f("pk_embeddings")),
        postgresql_with={"toast_tuple_target": "8160"},
    )
    op.create_index("ix_embeddings_text", "embeddings", ["user_id", "text_hash"])
    op.create_table(
        "embedding_states",
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_embedding_states")),
    )
    op.create_index(
        "ix_embedding_states_due",
        "embedding_states",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
