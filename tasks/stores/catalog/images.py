"""Images and where they belong now, within one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from anoclust_core.matching.identities import owner_of
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightCount
from tasks.stores.catalog.schema import Assignment, Cluster, Exclusion, Image, Placement, Run

_BATCH: Final = 500
"""Values in one statement; SQLite of some systems takes no more than 999."""

_FACTS: Final = select(*(getattr(Image, field.name) for field in fields(ImageFact)))
"""Images as rows of what `ImageFact` holds: a night asks for all, and objects would take longer."""


def record_images(session: Session, category: str, images: Iterable[ImageFact], *, now: datetime) -> None:
    """Add images, or say where a known one was seen last; when it was first seen and taken stays."""
    by_content = {image.content: image for image in images}
    for contents in batches(list(by_content)):
        known = {image.content: image for image in session.scalars(select(Image).where(*_among(category, contents)))}
        new = [by_content[content] for content in contents if content not in known]
        if new:
            session.execute(insert(Image), [_row(category, image, now) for image in new])
        for content, image in known.items():
            given = by_content[content]
            image.path, image.extra, image.quarantined = given.path, dict(given.extra), given.quarantined
            image.file, image.split, image.label, image.mask = given.file, given.split, given.label, given.mask
            image.part, image.decided_by = given.part, given.decided_by
    session.flush()
    if any(image.decided_by for image in by_content.values()):
        _hand_on(session, category)


def known_images(session: Session, category: str, contents: Sequence[str]) -> dict[str, ImageFact]:
    """Those of some images that the catalog has, by content."""
    return {
        row.content: ImageFact(*row)
        for part in batches(contents)
        for row in session.execute(_FACTS.where(*_among(category, part)))
    }


def images(session: Session, category: str, since: date | None, until: date | None) -> list[ImageFact]:
    """Images of a category by content, those of earlier and later nights left out."""
    query = _FACTS.where(Image.category == category).order_by(Image.content)
    if since is not None:
        query = query.where(Image.night >= since)
    if until is not None:
        query = query.where(Image.night <= until)
    return [ImageFact(*row) for row in session.execute(query)]


def n_usable(session: Session, category: str, until: date) -> int:
    """Images of a category that can be used, those of later nights left out; a part counts once."""
    query = select(func.count()).where(
        Image.category == category, Image.night <= until, Image.quarantined.is_(None), Image.decided_by.is_(None)
    )
    return session.execute(query).scalar_one()


def views(session: Session, category: str) -> dict[str, str]:
    """Views of parts that another view stands for, and that view, by content."""
    query = select(Image.content, Image.decided_by).where(Image.category == category, Image.decided_by.is_not(None))
    return {content: str(decided_by) for content, decided_by in session.execute(query)}


def current_assignments(session: Session, category: str, contents: Sequence[str] | None = None) -> list[AssignmentFact]:
    """Where all images or some are now, by content: as a person placed it, or else as the last run that had it says.

    An image that a person found wrong in the cluster of its last run is unknown. Of a part it is the view that stands
    for it.
    """
    parts = [None] if contents is None else batches(sorted(contents))
    return [
        AssignmentFact(*row) for part in parts for row in session.execute(_current(category, part).order_by("content"))
    ]


def placed_rows(session: Session, category: str) -> Iterator[Row[tuple[str, str | None, float, date]]]:
    """Content, cluster as assigned, confidence and night of every image, the surest first; rows, for there are many."""
    current = _current(category).subquery()
    query = (
        select(current.c.content, current.c.cluster, current.c.confidence, Image.night)
        .join(Image, and_(Image.category == category, Image.content == current.c.content))
        .order_by(current.c.confidence.desc(), current.c.content)
    )
    yield from session.execute(query)


def members_before(session: Session, category: str, cluster: str, run: int) -> list[str]:
    """Images that were in a cluster before a run, by content."""
    newest = func.row_number().over(partition_by=Assignment.content, order_by=Assignment.run.desc())
    before = (
        select(Assignment.content, Assignment.cluster, newest.label("rank"))
        .where(Assignment.category == category, Assignment.run < run)
        .subquery()
    )
    query = select(before.c.content).where(before.c.rank == 1, before.c.cluster == cluster)
    return sorted(session.scalars(query))


def cluster_sizes(session: Session, category: str) -> dict[str | None, int]:
    """How many images are in every cluster now, merges not followed; under None how many are unknown."""
    current = _current(category).subquery()
    query = select(current.c.cluster, func.count()).group_by(current.c.cluster)
    return {cluster: count for cluster, count in session.execute(query)}  # noqa: C416 - rows are no pairs to mypy


def n_unknown_since(session: Session, category: str, until: date) -> int:
    """Usable images up to a night that have no cluster, but for those of the last re-clustering and the wrong ones."""
    current = _current(category).subquery()
    last = select(func.max(Run.number)).where(Run.category == category, Run.snapshot.is_not(None)).scalar_subquery()
    query = (
        select(func.count())
        .select_from(current)
        .join(Image, and_(Image.category == category, Image.content == current.c.content))
        .where(
            current.c.cluster.is_(None),
            Image.night <= until,
            Image.quarantined.is_(None),
            Image.content.not_in(select(Assignment.content).where(Assignment.run == last)),
            Image.content.not_in(select(Exclusion.content).where(Exclusion.category == category)),
        )
    )
    return session.execute(query).scalar_one()


def night_counts(
    session: Session, category: str, since: date | None, until: date | None, merged_into: dict[str, str]
) -> list[NightCount]:
    """Images by night and cluster, as they are clustered now and with merges followed; only what is not 0."""
    current = _current(category).subquery()
    query = (
        select(Image.night, current.c.cluster, func.count())
        .join(current, and_(Image.category == category, Image.content == current.c.content))
        .group_by(Image.night, current.c.cluster)
    )
    if since is not None:
        query = query.where(Image.night >= since)
    if until is not None:
        query = query.where(Image.night <= until)
    counts: Counter[tuple[date, str | None]] = Counter()
    for night, cluster, count in session.execute(query):
        counts[night, None if cluster is None else owner_of(cluster, merged_into)] += count
    order = sorted(counts, key=lambda at: (at[0], at[1] is not None, len(at[1] or ""), at[1] or ""))
    return [NightCount(night, cluster, counts[night, cluster]) for night, cluster in order]


def nights_taken_up(session: Session, category: str, night: date) -> set[date]:
    """Nights of the images that a night was the first to record: its own, and others of images that came late."""
    earlier = aliased(Assignment)
    before = select(earlier.content).where(
        earlier.category == category, earlier.content == Assignment.content, earlier.run < Assignment.run
    )
    query = (
        select(Image.night)
        .join(Assignment, and_(Image.category == category, Image.content == Assignment.content))
        .join(Run, Run.number == Assignment.run)
        .where(Run.category == category, Run.night == night, ~before.exists())
        .distinct()
    )
    return set(session.scalars(query))


def place(session: Session, category: str, contents: Sequence[str], cluster: str) -> dict[str, str | None]:
    """Put images into a cluster for good, and say where a person had put them before, or None."""
    before: dict[str, str | None] = dict.fromkeys(contents)
    for part in batches(contents):
        chosen = (Placement.category == category, Placement.content.in_(part))
        before |= placements(session, category, part)
        session.execute(update(Placement).where(*chosen).values(cluster=cluster))
    new = [
        {"category": category, "content": content, "cluster": cluster}
        for content, placed in before.items()
        if placed is None
    ]
    if new:
        session.execute(insert(Placement), new)
    return before


def placements(session: Session, category: str, contents: Sequence[str]) -> dict[str, str]:
    """Where a person put some images, by content; only of those that somebody did."""
    found: dict[str, str] = {}
    for part in batches(contents):
        chosen = select(Placement).where(Placement.category == category, Placement.content.in_(part))
        found |= {placed.content: placed.cluster for placed in session.scalars(chosen)}
    return found


def displace(session: Session, category: str, contents: Sequence[str]) -> dict[str, str]:
    """Let runs say again where images belong, and give where a person had put them."""
    before = placements(session, category, contents)
    for part in batches(contents):
        session.execute(delete(Placement).where(Placement.category == category, Placement.content.in_(part)))
    return before


def by_runs(session: Session, category: str, contents: Sequence[str]) -> dict[str, tuple[str | None, int]]:
    """Cluster that the last run gave to each of some images, and the number of that run, by content."""
    newest = func.row_number().over(partition_by=Assignment.content, order_by=Assignment.run.desc())
    found: dict[str, tuple[str | None, int]] = {}
    for part in batches(contents):
        ranked = (
            select(Assignment.content, Assignment.cluster, Assignment.run, newest.label("rank"))
            .where(Assignment.category == category, Assignment.content.in_(part))
            .subquery()
        )
        newest_of = session.execute(select(ranked).where(ranked.c.rank == 1))
        found |= {row.content: (row.cluster, row.run) for row in newest_of}
    return found


def _hand_on(session: Session, category: str) -> None:
    """What a person decided about a view counts for the view that stands for its part now: where it is, and is not."""
    standing_for = sorted(views(session, category).items())
    by_person = select(Placement.content, Placement.cluster).where(Placement.category == category)
    placed = {content: cluster for content, cluster in session.execute(by_person)}  # noqa: C416 - rows are no pairs to mypy
    taken_out = select(Exclusion.content, Exclusion.cluster).where(
        Exclusion.category == category, Exclusion.until_run.is_(None)
    )
    wrong: dict[str, set[str]] = defaultdict(set)
    for content, cluster in session.execute(taken_out):
        wrong[content].add(cluster)
    for content, deciding in standing_for:
        if content in placed and deciding not in placed:
            place(session, category, [deciding], placed[content])
            placed[deciding] = placed[content]
        for cluster in sorted(wrong.get(content, set()) - wrong.get(deciding, set())):
            session.merge(Exclusion(category=category, cluster=cluster, content=deciding, until_run=None))
            wrong[deciding].add(cluster)


def batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Values in parts that fit one statement."""
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _current(category: str, contents: Sequence[str] | None = None) -> Select[Any]:
    newest = select(Assignment.content, func.max(Assignment.run).label("run")).where(Assignment.category == category)
    last = (newest if contents is None else newest.where(Assignment.content.in_(contents))).group_by(Assignment.content)
    runs = last.subquery()
    ranked = (
        select(Assignment.content, Assignment.run, Assignment.cluster, Assignment.distance, Assignment.confidence)
        .join(runs, and_(Assignment.run == runs.c.run, Assignment.content == runs.c.content))
        .join(Image, and_(Image.category == category, Image.content == Assignment.content))
        .where(Image.decided_by.is_(None))
        .subquery()
    )
    by_run = case((Exclusion.content.is_(None), ranked.c.cluster), else_=None)
    # tables themselves, not a query within: each row of these is found by its key
    return (
        select(
            ranked.c.content,
            func.coalesce(Cluster.cluster, by_run).label("cluster"),
            ranked.c.distance,
            ranked.c.confidence,
        )
        .outerjoin(Placement, and_(Placement.category == category, Placement.content == ranked.c.content))
        .outerjoin(
            Cluster,
            and_(Cluster.category == category, Cluster.cluster == Placement.cluster, Cluster.state != "retired"),
        )
        .outerjoin(
            Exclusion,
            and_(
                Exclusion.category == category,
                Exclusion.cluster == ranked.c.cluster,
                Exclusion.content == ranked.c.content,
                or_(Exclusion.until_run.is_(None), Exclusion.until_run >= ranked.c.run),
            ),
        )
    )


def _among(category: str, contents: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return Image.category == category, Image.content.in_(contents)


def _row(category: str, image: ImageFact, now: datetime) -> dict[str, Any]:
    return {
        "category": category,
        "content": image.content,
        "path": image.path,
        "first_seen": image.first_seen or now,
        "captured_at": image.captured_at,
        "night": image.night,
        "extra": dict(image.extra),
        "quarantined": image.quarantined,
        "file": image.file,
        "split": image.split,
        "label": image.label,
        "mask": image.mask,
        "part": image.part,
        "decided_by": image.decided_by,
    }
