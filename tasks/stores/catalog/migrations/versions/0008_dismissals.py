"""Questions that people set aside, so that the morning list does not ask them again."""

from __future__ import annotations

from typing import Final

from tasks.stores.catalog.migrations.decisions_table import allow_kinds

revision = "0008"
down_revision = "0007"
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
    "dismiss",
)


def upgrade() -> None:
    """Let decisions be dismissals."""
    allow_kinds(_KINDS)
