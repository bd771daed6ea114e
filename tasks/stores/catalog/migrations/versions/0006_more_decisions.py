"""More that people decide: images moved or wrong in their cluster, clusters that are no defect, cuts, adopted runs."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from tasks.stores.catalog.migrations.decisions_table import allow_kinds

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KINDS: Final = (
    "rename",
    "note",
    "merge",
    "split",
    "retire",
    "undo",
    "born",
    "kept",
    "merged",
    "retired",
    "was_split",
    "move",
    "wrong",
    "ordinary",
    "cut",
    "adopt",
    "answer",
)


def upgrade() -> None:
    """Let decisions have the new kinds, clusters a mark and images clusters that they are not in."""
    op.add_column("clusters", sa.Column("ordinary", sa.Boolean, nullable=True))
    op.create_table(
        "exclusions",
        sa.Column("category", sa.String, nullable=False),
        sa.Column("cluster", sa.String, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.Column("until_run", sa.Integer, nullable=True),
        sa.Column("checksum", sa.BigInteger, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("category", "cluster", "content", name="pk_exclusions"),
        sa.ForeignKeyConstraint(
            ["category", "content"], ["images.category", "images.content"], name="fk_exclusions_category_content"
        ),
        sa.ForeignKeyConstraint(
            ["category", "cluster"], ["clusters.category", "clusters.cluster"], name="fk_exclusions_category_cluster"
        ),
    )
    allow_kinds(_KINDS)
