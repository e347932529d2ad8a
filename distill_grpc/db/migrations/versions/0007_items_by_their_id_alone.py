"""Items have one key: their id is derived from source and platform id already."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("uq_items_user_id_source_platform_id", "items", type_="unique")
