"""More that people decide: images moved or wrong in their cluster, clusters that are no defect, cuts, adopted runs."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

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
        sa.Column("content", sa.String, nullable=False),
        sa.Column("cluster", sa.String, nullable=False),
        sa.Column("until_run", sa.Integer, nullable=True),
        sa.Column("checksum", sa.BigInteger, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("category", "content", "cluster", name="pk_exclusions"),
        sa.ForeignKeyConstraint(
            ["category", "content"], ["images.category", "images.content"], name="fk_exclusions_category_content"
        ),
        sa.ForeignKeyConstraint(
            ["category", "cluster"], ["clusters.category", "clusters.cluster"], name="fk_exclusions_category_cluster"
        ),
    )
    holds = "kind IN (" + ", ".join(f"'{kind}'" for kind in _KINDS) + ")"
    if op.get_bind().dialect.name == "sqlite":
        # a copy of the table would lose what refers to it; the rule came with the column of checksums and goes with it,
        # and all checksums are made again after the last migration
        op.execute("ALTER TABLE decisions DROP COLUMN checksum")
        op.execute(
            "ALTER TABLE decisions ADD COLUMN checksum BIGINT DEFAULT 0 NOT NULL CONSTRAINT ck_decisions_kind "
            f"CHECK ({holds})"
        )
        return
    op.drop_constraint(op.f("ck_decisions_kind"), "decisions", type_="check")
    op.create_check_constraint(op.f("ck_decisions_kind"), "decisions", holds)
