"""A checksum for every row; states and kinds that are none are refused."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from anoclust_core.errors import StoreError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CHECKS: Final = {
    "images": None,
    "snapshots": None,
    "runs": ("kind", "(night IS NULL AND snapshot IS NOT NULL) OR (night IS NOT NULL AND snapshot IS NULL)"),
    "nights": ("state", "state IN ('begun', 'done', 'failed')"),
    "clusters": ("state", "state IN ('provisional', 'confirmed', 'retired', 'merged')"),
    "assignments": None,
    "decisions": (
        "kind",
        "kind IN ('rename', 'note', 'merge', 'split', 'retire', 'undo', 'born', 'kept', 'merged', 'retired', "
        "'was_split')",
    ),
    "placements": None,
    "notices": (
        "event",
        "event IN ('anoclust.cluster.new', 'anoclust.cluster.growing', 'anoclust.drift', 'anoclust.quarantine')",
    ),
    "identity": ("only", '"only" = 1'),
    "outbox": None,
}
"""Tables, and what must hold for their rows; the checksums themselves are made when all migrations are done."""


def upgrade() -> None:
    """Add the column to every table, and the constraint with it.

    Raises
    ------
    StoreError
        If a row breaks the constraint.
    """
    connection = op.get_bind()
    for table, check in _CHECKS.items():
        column = "checksum BIGINT DEFAULT 0 NOT NULL"
        if check is None:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
            continue
        name, holds = check
        _refuse(connection, table, name, holds)
        if connection.dialect.name == "sqlite":
            # with the column SQLite takes a constraint without copying the table; a copy would lose what refers to it
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column} CONSTRAINT ck_{table}_{name} CHECK ({holds})")
        else:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, holds)


def _refuse(connection: sa.Connection, table: str, name: str, holds: str) -> None:
    found = connection.execute(sa.text(f"SELECT * FROM {table} WHERE NOT ({holds}) LIMIT 1")).mappings().first()  # noqa: S608 - names of ours
    if found is not None:
        keys = sa.inspect(connection).get_pk_constraint(table)["constrained_columns"]
        row = ", ".join(f"{key} {found[key]}" for key in keys)
        value = f"; its {name} is {found[name]!r}" if name in found else ""
        raise StoreError(
            f"the catalog is damaged: row {row} of {table} breaks the rule {holds}{value}; put a copy from a backup in "
            "its place, or make it again with `anoclust store rebuild-catalog`"
        )
