"""Where an image's file is, what it was labelled; what others are told once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tasks.stores.catalog.schema import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and a table."""
    for name in ("file", "split", "label", "mask"):
        op.add_column("images", sa.Column(name, sa.String, nullable=True))
    op.create_table(
        "notices",
        sa.Column("category", sa.String, nullable=False),
        sa.Column("notice", sa.String, nullable=False),
        sa.Column("night", sa.Date, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("sent_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("category", "notice", name="pk_notices"),
    )
