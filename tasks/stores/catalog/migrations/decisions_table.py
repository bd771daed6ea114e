"""What migrations share that let decisions be of more kinds: SQLite changes no constraint, so the table is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

from tasks.stores.catalog.schema import UtcDateTime

_NAMES: Final = "number, category, cluster, kind, who, at, before, after, run, undone_by"


def allow_kinds(kinds: Sequence[str]) -> None:
    """Let decisions have these kinds and no others."""
    holds = "kind IN (" + ", ".join(f"'{kind}'" for kind in kinds) + ")"
    if op.get_bind().dialect.name == "sqlite":
        _copy(holds)
        return
    op.drop_constraint(op.f("ck_decisions_kind"), "decisions", type_="check")
    op.create_check_constraint(op.f("ck_decisions_kind"), "decisions", holds)


def _copy(holds: str) -> None:
    """Copy the table: SQLite changes no constraint. Only the table refers to itself, so that nothing else is lost."""
    op.drop_index("ix_decisions_category_cluster", "decisions")
    op.rename_table("decisions", "old_decisions")
    op.create_table(
        "decisions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("cluster", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("run", sa.Integer, nullable=True),
        sa.Column("undone_by", sa.Integer, nullable=True),
        sa.Column("checksum", sa.BigInteger, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_decisions"),
        sa.ForeignKeyConstraint(
            ["category", "cluster"], ["clusters.category", "clusters.cluster"], name="fk_decisions_category_cluster"
        ),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_decisions_run", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["undone_by"], ["decisions.number"], name="fk_decisions_undone_by"),
        sa.CheckConstraint(holds, name=op.f("ck_decisions_kind")),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO decisions ({_NAMES}) SELECT {_NAMES} FROM old_decisions")  # noqa: S608 - names of ours
    # no number is given again, also none of a row that is gone
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'decisions'")
    op.execute("UPDATE sqlite_sequence SET name = 'decisions' WHERE name = 'old_decisions'")
    op.drop_table("old_decisions")
    op.create_index("ix_decisions_category_cluster", "decisions", ["category", "cluster"])
