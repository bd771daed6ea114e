"""The methods of the catalog that people's decisions are made, compared and undone with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.partitions import PartitionMatch
from tasks.stores.catalog import images, standing
from tasks.stores.catalog.decisions import dismissals, of_clusterings, of_clusters, of_images, seen, undoing
from tasks.stores.catalog.decisions import questions as asked_again
from tasks.stores.catalog.facts import (
    AssignmentFact,
    Author,
    ImageFact,
    QuestionFact,
    Settled,
    SnapshotFact,
    Standing,
)

MAX_WHO: Final = 100
"""Longest name of a person, in characters."""

Seen = Mapping[str, int] | None
"""Versions of clusters, by identity or name, as a person saw them: those of `versions`. None checks nothing."""


class DecidingCatalog(ABC):
    """What people decide. Each method is one transaction, and a row of the history that can be undone.

    All take ``who`` decides and ``when`` (now, if it is None). With ``expected``, the versions of clusters that the
    person saw, a decision is refused by a `ChangedSinceError` if one of them has changed since: it says what happened,
    who did it, and when. All give the number of the decision, which `undo` takes, if nothing else is said.

    Images are named by content. Those that a person puts somewhere stay there: no night and no re-clustering moves
    them.
    """

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Session]: ...

    @abstractmethod
    def _writing(self, category: str) -> AbstractContextManager[Session]: ...

    def versions(self, category: str) -> dict[str, int]:
        """Version of every cluster: the number of the last decision or re-clustering that touched it, or 0."""
        with self._reading() as session:
            return seen.versions(session, category)

    def rename(
        self,
        category: str,
        named: str,
        name: str,
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Give a cluster a name; an empty text removes it. No two living clusters have the same name."""
        with self._deciding(category, expected) as session:
            return of_clusters.rename(session, category, named, name, by=_author(who, when))

    def annotate(
        self,
        category: str,
        named: str,
        note: str,
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Write a note on a cluster."""
        with self._deciding(category, expected) as session:
            return of_clusters.annotate(session, category, named, note, by=_author(who, when))

    def merge(
        self,
        category: str,
        named: Sequence[str],
        *,
        into: str,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> tuple[int, ...]:
        """Merge clusters into another one, past nights included; re-clusterings keep the merge. A decision each."""
        with self._deciding(category, expected) as session:
            return of_clusters.merge(session, category, named, into, by=_author(who, when))

    def split(
        self,
        category: str,
        named: str,
        contents: Sequence[str],
        *,
        who: str,
        name: str = "",
        when: datetime | None = None,
        expected: Seen = None,
    ) -> str:
        """Make a new cluster of some images of another one, and give its identity; runs do not put them back.

        With a name, that is a second decision.
        """
        with self._deciding(category, expected) as session:
            by = _author(who, when)
            new = of_images.split(session, category, named, contents, by=by)
            if name:
                of_clusters.rename(session, category, new, name, by=by)
            return new

    def start(
        self,
        category: str,
        contents: Sequence[str],
        *,
        who: str,
        name: str = "",
        when: datetime | None = None,
        expected: Seen = None,
    ) -> str:
        """Make a new cluster of images, from whatever clusters they are in, or from none, and give its identity.

        With a name, that is a second decision.
        """
        with self._deciding(category, expected) as session:
            by = _author(who, when)
            new = of_images.start(session, category, contents, by=by)
            if name:
                of_clusters.rename(session, category, new, name, by=by)
            return new

    def retire(
        self, category: str, named: str, *, who: str, when: datetime | None = None, expected: Seen = None
    ) -> int:
        """Retire a cluster."""
        with self._deciding(category, expected) as session:
            return of_clusters.retire(session, category, named, by=_author(who, when))

    def move(
        self,
        category: str,
        contents: Sequence[str],
        *,
        to: str,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Put images into a cluster, from whatever clusters they are in, or from none; one decision for all."""
        with self._deciding(category, expected) as session:
            return of_images.move(session, category, contents, to, by=_author(who, when))

    def mark_wrong(
        self,
        category: str,
        contents: Sequence[str],
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> tuple[int, ...]:
        """Take images out of the clusters that they are in. A decision for each of these clusters.

        They are unknown until a re-clustering or a person puts them elsewhere, and never go back by themselves.
        """
        with self._deciding(category, expected) as session:
            return of_images.mark_wrong(session, category, contents, by=_author(who, when))

    def mark_ordinary(
        self,
        category: str,
        named: str,
        is_ordinary: bool,
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Say that a cluster is no defect (True), or that it is one (False), whatever its images look like."""
        with self._deciding(category, expected) as session:
            return of_clusters.mark_ordinary(session, category, named, is_ordinary, by=_author(who, when))

    def adopt(
        self,
        snapshot: SnapshotFact,
        *,
        match: PartitionMatch,
        assignments: Iterable[AssignmentFact],
        new: Iterable[ImageFact],
        who: str,
        when: datetime | None = None,
    ) -> int:
        """Let a finished run be the start of a category's nights; refused where it has nights already.

        Parameters
        ----------
        snapshot
            The run, as the next nights need it; ``details`` has its night and its name.
        match, assignments
            Its clusters and the cluster of every image, as for `record_snapshot`.
        new
            Its images.
        who, when
            As for all decisions.
        """
        with self._deciding(snapshot.category, None) as session:
            by = _author(who, when)
            images.record_images(session, snapshot.category, new, now=by.when)
            return of_clusterings.adopt(session, snapshot, match, assignments, by=by)

    def cut(
        self,
        snapshot: SnapshotFact,
        *,
        number: int,
        match: PartitionMatch,
        assignments: Iterable[AssignmentFact],
        found: Standing,
        who: str,
        expected: Seen = None,
    ) -> int:
        """Let a cut of the last clustering's tree be the clusters; `tasks.night.cutting.cut_clusters` makes one.

        Parameters
        ----------
        snapshot
            The cut, as the next nights need it.
        number
            Groups that were asked for.
        match, assignments
            As for `record_snapshot`.
        found
            How clusters stood when they were matched, see `Catalog.recording`.
        who, expected
            As for all decisions.
        """
        with self._deciding(snapshot.category, expected) as session:
            standing.check_unchanged(session, snapshot.category, found)
            by = _author(who, snapshot.made_at)
            return of_clusterings.cut(session, snapshot, number, match, assignments, by=by)

    def questions(self, category: str) -> list[QuestionFact]:
        """What people decided about clusters that were split or joined since, and that is not clear now."""
        with self._reading() as session:
            return asked_again.questions(session, category)

    def answer(
        self,
        category: str,
        question: str,
        is_so: bool,
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Answer an open question: True does what is asked, False leaves everything as it is."""
        with self._deciding(category, expected) as session:
            return asked_again.answer(session, category, question, is_so, by=_author(who, when))

    def dismiss(
        self,
        category: str,
        question: str,
        text: str,
        *,
        who: str,
        about: str | None = None,
        when: datetime | None = None,
    ) -> int:
        """Set a question of the morning list aside, so that it is not asked again; ``about`` is its cluster, if any.

        ``question`` is its name, ``text`` what it asks. It changes nothing else: no night and no re-clustering knows
        of it.
        """
        with self._deciding(category, None) as session:
            return dismissals.dismiss(session, category, question, text, about, by=_author(who, when))

    def settled(self, category: str) -> Settled:
        """What people need not be asked about again: images that they placed, and questions that they set aside."""
        with self._reading() as session:
            return dismissals.settled(session, category)

    def by_runs(self, category: str, contents: Sequence[str]) -> dict[str, str | None]:
        """Cluster that the last run gave to each of some images, whatever people decided; merges are not followed."""
        with self._reading() as session:
            return {content: cluster for content, (cluster, _) in images.by_runs(session, category, contents).items()}

    def undo(
        self,
        category: str,
        number: int | None = None,
        *,
        who: str,
        when: datetime | None = None,
        expected: Seen = None,
    ) -> int:
        """Undo a person's decision, by default the last one, and return its number.

        One that a later decision builds on has to wait for that one.
        """
        with self._deciding(category, expected) as session:
            return undoing.undo(session, category, number, by=_author(who, when))

    def undo_all(self, category: str, numbers: Sequence[int], *, who: str) -> None:
        """Undo several decisions in the order given, all of them or none."""
        with self._deciding(category, None) as session:
            by = _author(who, None)
            for number in numbers:
                undoing.undo(session, category, number, by=by)

    def members_before(self, category: str, number: int) -> list[str]:
        """Images that a cluster had before the re-clustering of a decision, by content; none if that is not known."""
        with self._reading() as session:
            return undoing.members_before(session, category, number)

    @contextmanager
    def _deciding(self, category: str, expected: Seen) -> Iterator[Session]:
        """Give a transaction in which clusters are as the person saw them."""
        with self._writing(category) as session:
            seen.check_seen(session, category, expected)
            yield session


def _author(who: str, when: datetime | None) -> Author:
    """Who decides and when.

    Raises
    ------
    ConfigError
        If the name is empty, too long or no text of one line.
    """
    name = " ".join(who.split())
    if not name or len(name) > MAX_WHO or not name.isprintable():
        raise ConfigError(
            f"expected who decides, a name of at most {MAX_WHO} characters, found {name[:MAX_WHO]!r}; give one with "
            "--by"
        )
    return Author(name, when or datetime.now(UTC))
