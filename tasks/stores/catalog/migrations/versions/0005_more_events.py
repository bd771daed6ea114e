"""More kinds of events: known clusters that a re-clustering joined or dissolved, and cameras."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_EVENTS: Final = (
    "anoclust.cluster.new",
    "anoclust.cluster.growing",
    "anoclust.cluster.merged",
    "anoclust.cluster.gone",
    "anoclust.drift",
    "anoclust.camera",
    "anoclust.quarantine",
)


def upgrade() -> None:
    """Let notices have the new kinds."""
    holds = "event IN (" + ", ".join(f"'{event}'" for event in _EVENTS) + ")"
    if op.get_bind().dialect.name == "sqlite":
        # SQLite changes a constraint by a copy of the table, which takes no constraint over; nothing refers to notices
        with op.batch_alter_table("notices", recreate="always") as copy:
            copy.create_check_constraint(op.f("ck_notices_event"), holds)
        return
    op.drop_constraint(op.f("ck_notices_event"), "notices", type_="check")
    op.create_check_constraint(op.f("ck_notices_event"), "notices", holds)
