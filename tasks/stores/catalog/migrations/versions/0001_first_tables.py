"""Images, nights, runs, snapshots, clusters, assignments, decisions, placements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tasks.stores.catalog.schema import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _column(name: str, kind: sa.types.TypeEngine[object] | type[object], *, empty: bool = False) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=empty)  # type: ignore[arg-type]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "images",
        _column("category", sa.String),
        _column("content", sa.String),
        _column("path", sa.String),
        _column("first_seen", UtcDateTime),
        _column("captured_at", UtcDateTime),
        _column("night", sa.Date),
        _column("extra", sa.JSON),
        _column("quarantined", sa.String, empty=True),
        sa.PrimaryKeyConstraint("category", "content", name="pk_images"),
    )
    op.create_index("ix_images_category_night", "images", ["category", "night"])
    op.create_table(
        "snapshots",
        _column("category", sa.String),
        _column("key", sa.String),
        _column("made_at", UtcDateTime),
        _column("n_images", sa.Integer),
        _column("merge_height", sa.Float),
        _column("details", sa.JSON),
        sa.PrimaryKeyConstraint("category", "key", name="pk_snapshots"),
    )
    op.create_table(
        "runs",
        _column("number", sa.Integer),
        _column("category", sa.String),
        _column("night", sa.Date, empty=True),
        _column("snapshot", sa.String, empty=True),
        sa.PrimaryKeyConstraint("number", name="pk_runs"),
        sa.ForeignKeyConstraint(
            ["category", "snapshot"], ["snapshots.category", "snapshots.key"], name="fk_runs_category_snapshot"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_category_night", "runs", ["category", "night"], unique=True)
    op.create_index("ix_runs_category_snapshot", "runs", ["category", "snapshot"], unique=True)
    op.create_table(
        "nights",
        _column("category", sa.String),
        _column("night", sa.Date),
        _column("state", sa.String),
        _column("key", sa.String),
        _column("began", UtcDateTime),
        _column("ended", UtcDateTime),
        _column("counters", sa.JSON),
        sa.PrimaryKeyConstraint("category", "night", name="pk_nights"),
    )
    op.create_table(
        "clusters",
        _column("category", sa.String),
        _column("cluster", sa.String),
        _column("state", sa.String),
        _column("born", sa.Date),
        _column("born_in", sa.Integer, empty=True),
        _column("name", sa.String, empty=True),
        _column("note", sa.String),
        _column("merged_into", sa.String, empty=True),
        sa.PrimaryKeyConstraint("category", "cluster", name="pk_clusters"),
        sa.ForeignKeyConstraint(
            ["category", "merged_into"],
            ["clusters.category", "clusters.cluster"],
            name="fk_clusters_category_merged_into",
        ),
        sa.ForeignKeyConstraint(["born_in"], ["runs.number"], name="fk_clusters_born_in", ondelete="SET NULL"),
    )
    op.create_table(
        "assignments",
        _column("run", sa.Integer),
        _column("content", sa.String),
        _column("category", sa.String),
        _column("cluster", sa.String, empty=True),
        _column("distance", sa.Float),
        _column("confidence", sa.Float),
        sa.PrimaryKeyConstraint("run", "content", name="pk_assignments"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_assignments_run", ondelete="CASCADE"),
        _image_key("assignments"),
        _cluster_key("assignments"),
    )
    op.create_index("ix_assignments_category_content_run", "assignments", ["category", "content", "run"])
    op.create_index("ix_assignments_category_cluster", "assignments", ["category", "cluster"])
    op.create_table(
        "decisions",
        _column("number", sa.Integer),
        _column("category", sa.String),
        _column("cluster", sa.String),
        _column("kind", sa.String),
        _column("who", sa.String),
        _column("at", UtcDateTime),
        _column("before", sa.JSON),
        _column("after", sa.JSON),
        _column("run", sa.Integer, empty=True),
        _column("undone_by", sa.Integer, empty=True),
        sa.PrimaryKeyConstraint("number", name="pk_decisions"),
        _cluster_key("decisions"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_decisions_run", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["undone_by"], ["decisions.number"], name="fk_decisions_undone_by"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decisions_category_cluster", "decisions", ["category", "cluster"])
    op.create_table(
        "placements",
        _column("category", sa.String),
        _column("content", sa.String),
        _column("cluster", sa.String),
        sa.PrimaryKeyConstraint("category", "content", name="pk_placements"),
        _image_key("placements"),
        _cluster_key("placements"),
    )


def _image_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["category", "content"], ["images.category", "images.content"], name=f"fk_{table}_category_content"
    )


def _cluster_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["category", "cluster"], ["clusters.category", "clusters.cluster"], name=f"fk_{table}_category_cluster"
    )
