"""Which part an image shows, and which view of that part decides for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; images of before are of no part."""
    op.add_column("images", sa.Column("part", sa.String(), nullable=True))
    op.add_column("images", sa.Column("decided_by", sa.String(), nullable=True))
