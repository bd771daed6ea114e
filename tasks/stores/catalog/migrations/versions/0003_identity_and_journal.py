"""Which store the catalog is of, how much of it the store's journal has, and what is still to be written there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FILLED = ("images", "snapshots", "runs", "nights", "clusters", "notices")
"""Tables that have rows where there has been anything at all."""


def upgrade() -> None:
    """Add two tables; what is in the catalog already counts as one change that no journal has yet."""
    op.create_table(
        "identity",
        sa.Column("only", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("identity", sa.String, nullable=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("only", name="pk_identity"),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
    )
    connection = op.get_bind()
    is_filled = any(connection.execute(sa.text(f"SELECT 1 FROM {name} LIMIT 1")).first() for name in _FILLED)  # noqa: S608 - names of ours
    connection.execute(
        sa.text('INSERT INTO identity ("only", identity, position) VALUES (1, NULL, :position)'),
        {"position": int(is_filled)},
    )
