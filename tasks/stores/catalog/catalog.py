"""Everything that is asked of the catalog: small methods, each one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Self, TypeVar

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from anoclust_core.errors import BusyError
from anoclust_core.matching.identities import owner_of
from anoclust_core.matching.partitions import PartitionMatch
from tasks.stores.catalog import checksums, clusters, images, nights, notices, opening, standing
from tasks.stores.catalog.browsing import Browsing
from tasks.stores.catalog.changes import Changes
from tasks.stores.catalog.decisions.asking import DecidingCatalog
from tasks.stores.catalog.facts import (
    AssignmentFact,
    ClusterFact,
    DecisionFact,
    ImageFact,
    NightCount,
    NightFact,
    NoticeFact,
    SnapshotFact,
    Standing,
)
from tasks.stores.catalog.identity import open_catalog
from tasks.stores.catalog.journal import Journal, write_out
from tasks.stores.catalog.schema import Image
from tasks.stores.layout import StoreLayout

FILE_NAME: Final = "catalog.sqlite"
"""The catalog in a store, where no URL is given."""

ATTEMPTS: Final = 20
"""How often something is worked out again because somebody decided about clusters meanwhile."""

Recorded = TypeVar("Recorded")


class Catalog(DecidingCatalog):
    """Facts about the categories of a store; make one with `Catalog.open`.

    Every method is one transaction: it happens whole or not at all, also if the process is killed. A catalog may be
    used by several threads and processes. Clusters are named by identity or name. Of a cluster, category or decision
    that does not exist, or cannot be changed so, all methods say so by a `ConfigError`; that somebody else writes for
    too long by a `BusyError`; that the database cannot be used by a `StoreError`.
    """

    def __init__(self, engine: Engine, journal: Journal | None = None, view: Session | None = None) -> None:
        self._engine, self._journal, self._view = engine, journal, view

    @classmethod
    def open(
        cls,
        where: Path | str,
        *,
        store: StoreLayout | None = None,
        create: bool = True,
        busy_seconds: float = opening.BUSY_SECONDS,
    ) -> Self:
        """Open a catalog, make one if there is none, and bring an older one up to date.

        Parameters
        ----------
        where
            A SQLite file (`pathlib.Path`), usually ``STORE/catalog.sqlite``, or a URL such as
            ``postgresql://user:password@host/name``.
        store
            The store that it belongs to, whose journal gets every change. Without one the catalog is taken by itself,
            as it is, and the changes wait in it for the next who opens it with its store.
        create
            Whether to begin a catalog for a store that has never had one.
        busy_seconds
            How long to wait for somebody else who writes.

        Raises
        ------
        ConfigError
            If the URL is none of SQLite or PostgreSQL, or the driver of PostgreSQL is not installed.
        StoreError
            If the database cannot be reached, is damaged, or is of a newer version of Anoclust; or if it is missing,
            empty or older although its store has had nights, or of another store.
        BusyError
            If somebody else writes all the time.
        """
        if store is None:
            return cls(opening.open_engine(where, busy_seconds=busy_seconds))
        engine = open_catalog(store, where, create=create, busy_seconds=busy_seconds)
        return cls(engine, Journal(store.journal))

    def close(self) -> None:
        """End all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def view(self) -> Iterator[Self]:
        """Give a catalog to read from that stays as it is now, whatever others write meanwhile."""
        with self._reading() as session:
            yield type(self)(self._engine, view=session)

    def recording(self, category: str, record: Callable[[Standing], Recorded]) -> Recorded:
        """Work out something from how clusters stand and record it; again, where somebody changed them meanwhile.

        Parameters
        ----------
        category
            Whose clusters.
        record
            Takes how they stand, and hands that on to `record_night` or `record_snapshot`, which refuse it where it is
            no longer so. What it gives is given back.

        Raises
        ------
        BusyError
            If they change all the time.
        """
        for _ in range(ATTEMPTS):
            try:
                return record(self.standing(category))
            except standing.OvertakenError:
                continue
        raise BusyError(
            f"clusters of {category} were changed {ATTEMPTS} times while a night was to be recorded; wait until those "
            "changes are done, and run the same command again"
        )

    # -- images and nights ------------------------------------------------------------------------------------------

    def record_images(self, category: str, new: Iterable[ImageFact]) -> None:
        """Add images; of a known one, path, extra columns and quarantine reason are what they are now."""
        with self._writing(category) as session:
            images.record_images(session, category, new, now=_now())

    def known_images(self, category: str, contents: Sequence[str]) -> dict[str, ImageFact]:
        """Those of some images that the catalog has, by content."""
        with self._reading() as session:
            return images.known_images(session, category, contents)

    def images(self, category: str, *, since: date | None = None, until: date | None = None) -> list[ImageFact]:
        """Images of a category by content, those of earlier and later nights left out; both ends count."""
        with self._reading() as session:
            return images.images(session, category, since, until)

    def n_usable(self, category: str, *, until: date) -> int:
        """How many images of a category can be used, those of later nights left out; a part counts once."""
        with self._reading() as session:
            return images.n_usable(session, category, until)

    def views(self, category: str) -> dict[str, str]:
        """Views of parts that another view stands for, and that view, by content; none where images are clustered."""
        with self._reading() as session:
            return images.views(session, category)

    def record_night(
        self,
        night: NightFact,
        *,
        new: Iterable[ImageFact] = (),
        assignments: Iterable[AssignmentFact] = (),
        born: Mapping[str, Mapping[str, object]] | None = None,
        tell: Iterable[NoticeFact] = (),
        found: Standing | None = None,
    ) -> None:
        """Record a night whole, in the place of what was recorded for the same night before.

        Parameters
        ----------
        night
            The night itself.
        new
            Images that were not known.
        assignments
            Where they belong, clusters born in this night included.
        born
            Identities of provisional clusters, `fresh_ids` beyond `identities`, each with its evidence as JSON values.
        tell
            What others are told because of it; what they were told before is not told again.
        found
            How clusters stood when this was worked out, see `recording`; None where it does not depend on them.
        """
        with self._writing(night.category) as session:
            if found is not None:
                standing.check_unchanged(session, night.category, found)
            images.record_images(session, night.category, new, now=_now())
            nights.record_night(session, night, assignments, born or {})
            notices.add(session, tell)

    def nights_taken_up(self, category: str, night: date) -> set[date]:
        """Nights that the images are of that a night was the first to record: its own, and others of late images."""
        with self._reading() as session:
            return images.nights_taken_up(session, category, night)

    def conclude_night(self, night: NightFact, *, tell: Iterable[NoticeFact] = ()) -> None:
        """Say how a night ended; its images stay as they are recorded."""
        with self._writing(night.category) as session:
            nights.put_night(session, night)
            notices.add(session, tell)

    def night_record(self, category: str, night: date) -> tuple[list[AssignmentFact], dict[str, dict[str, object]]]:
        """Assignments and births that a night was recorded with; nothing where it was not."""
        with self._reading() as session:
            return nights.night_record(session, category, night)

    def nights(
        self, category: str | None = None, *, since: date | None = None, until: date | None = None
    ) -> list[NightFact]:
        """Recorded nights of a category, or of all, by date; both ends count."""
        with self._reading() as session:
            return nights.nights(session, category, since, until)

    def night(self, category: str, night: date) -> NightFact | None:
        """One recorded night, or None."""
        return next(iter(self.nights(category, since=night, until=night)), None)

    def categories(self) -> list[str]:
        """Categories that there are images of."""
        with self._reading() as session:
            return list(session.scalars(select(Image.category).distinct().order_by(Image.category)))

    # -- snapshots --------------------------------------------------------------------------------------------------

    def record_snapshot(
        self,
        snapshot: SnapshotFact,
        *,
        night: date,
        match: PartitionMatch,
        assignments: Iterable[AssignmentFact],
        new: Iterable[ImageFact] = (),
        tell: Iterable[NoticeFact] = (),
        found: Standing | None = None,
    ) -> bool:
        """Record a re-clustering: what became of every cluster, with evidence, and where each image is now.

        Parameters
        ----------
        snapshot
            What the next nights need.
        night
            Night that new clusters are born in.
        match
            What `match_partitions` gave for `partition`, `identities` and `merges`.
        assignments
            Every image of the snapshot, with identities of ``match.ids``.
        new
            Images that were not known.
        tell
            What others are told because of it, if it is recorded.
        found
            How clusters stood when they were matched, see `recording`; None where there were none.

        Returns
        -------
        recorded
            False if it is the latest one already and puts every image where it did; nothing is done then.
        """
        with self._writing(snapshot.category) as session:
            if found is not None:
                standing.check_unchanged(session, snapshot.category, found)
            images.record_images(session, snapshot.category, new, now=_now())
            recorded = nights.record_snapshot(session, snapshot, night, match, assignments)
            if recorded:
                notices.add(session, tell)
            return recorded

    def latest_snapshot(self, category: str) -> SnapshotFact | None:
        """Snapshot of the last re-clustering, or None."""
        with self._reading() as session:
            return nights.latest_snapshot(session, category)

    def snapshot(self, category: str, key: str) -> SnapshotFact | None:
        """Snapshot of a re-clustering by its key, or None."""
        with self._reading() as session:
            return nights.snapshot(session, category, key)

    # -- where images belong ----------------------------------------------------------------------------------------

    def assignments(
        self, category: str, contents: Sequence[str] | None = None, *, follow_merges: bool = True
    ) -> list[AssignmentFact]:
        """Where every image is now, or those asked for, by content: as a person placed it, else as its last run says.

        Of a part it is the view that stands for it; `views` has the others.
        With ``follow_merges=False`` it is the part of a merged cluster that was assigned.
        """
        with self._reading() as session:
            found = images.current_assignments(session, category, contents)
            into = clusters.merges(session, category) if follow_merges else {}
        return [
            AssignmentFact(
                fact.content,
                None if fact.cluster is None else owner_of(fact.cluster, into),
                fact.distance,
                fact.confidence,
            )
            for fact in found
        ]

    def n_unknown(self, category: str) -> int:
        """How many images have no cluster now."""
        with self._reading() as session:
            return images.cluster_sizes(session, category).get(None, 0)

    def n_unknown_since(self, category: str, *, until: date) -> int:
        """How many usable images that the last re-clustering did not have are without a cluster now.

        Those of later nights are left out, and those that a person took out of a cluster: that is no news.
        """
        with self._reading() as session:
            return images.n_unknown_since(session, category, until)

    def standing(self, category: str) -> Standing:
        """How clusters stand now: what a night or a re-clustering starts from."""
        with self._reading() as session:
            return standing.standing(session, category)

    def partition(self, category: str) -> dict[str, str]:
        """Cluster of every image that has one, merges not followed: what `match_partitions` takes as ``old``."""
        return self.standing(category).partition

    def merges(self, category: str) -> dict[str, str]:
        """Clusters that were merged into another one, and that one."""
        with self._reading() as session:
            return clusters.merges(session, category)

    def identities(self, category: str) -> set[str]:
        """Identities that the category ever had."""
        with self._reading() as session:
            return clusters.identities(session, category)

    def counts(self, category: str, *, since: date | None = None, until: date | None = None) -> list[NightCount]:
        """Images by night and cluster as they are clustered now, merges followed; by night, the unknown first."""
        with self._reading() as session:
            return images.night_counts(session, category, since, until, clusters.merges(session, category))

    @contextmanager
    def browsing(self, category: str) -> Iterator[Browsing]:
        """Give what people look through of a category, all of one moment."""
        with self._reading() as session:
            yield Browsing(session, category)

    # -- clusters; decisions about them are in `DecidingCatalog` -------------------------------------------------------

    def clusters(self, category: str) -> list[ClusterFact]:
        """All clusters that there ever were, by identity."""
        with self._reading() as session:
            return clusters.facts(session, category)

    def cluster(self, category: str, named: str) -> ClusterFact:
        """One cluster."""
        with self._reading() as session:
            wanted = clusters.find(session, category, named).cluster
            return next(fact for fact in clusters.facts(session, category) if fact.cluster == wanted)

    def history(self, category: str, named: str | None = None) -> list[DecisionFact]:
        """What happened to one cluster, or to all, oldest first."""
        with self._reading() as session:
            return clusters.history(session, category, named)

    # -- notices ----------------------------------------------------------------------------------------------------

    def notices(self, category: str, *, only_unsent: bool = False) -> list[NoticeFact]:
        """What others were told, or are still to be told, by night."""
        with self._reading() as session:
            return notices.notices(session, category, only_unsent=only_unsent)

    def mark_sent(self, category: str, names: Iterable[str]) -> None:
        """Note that some notices were sent."""
        with self._writing(category) as session:
            notices.mark_sent(session, category, names, when=_now())

    # -- upkeep -----------------------------------------------------------------------------------------------------

    def check(self, categories: Sequence[str] = ()) -> None:
        """Check that what the catalog has of some categories, or of all, is as it was written.

        Commands do so before they read, and after that trust what they read.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        with self._reading() as session:
            found = list(checksums.damage(session.connection(), categories))
        if found:
            more = f", and {len(found) - 1:,} more" if len(found) > 1 else ""
            raise opening.damaged(opening.shown(self._engine.url), f"{found[0]}{more}")

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with opening.told_as_ours(self._engine):
            if self._view is not None:
                yield self._view
                return
            with Session(opening.of_one_moment(self._engine)) as session, session.begin():
                yield session

    @contextmanager
    def _writing(self, category: str) -> Iterator[Session]:
        if self._view is not None:
            raise AssertionError("a view is for reading")
        engine = self._engine.execution_options(writes=True)
        with opening.told_as_ours(self._engine), Session(engine) as session, session.begin():
            opening.lock_category(session.connection(), category)
            changes = Changes(session)
            yield session
            changes.commit_to_outbox()
        if self._journal is not None:
            with opening.told_as_ours(self._engine):
                write_out(self._engine, self._journal)


def _now() -> datetime:
    return datetime.now(UTC)
