"""What goes into the catalog and comes out of it: plain frozen records, times in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsFloat, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

UNKNOWN: Final = "unknown"
"""Stands for images without a cluster, where clusters have their identities: no name for a cluster."""

ClusterState = Literal["provisional", "confirmed", "retired", "merged"]
"""``provisional``: born between two snapshots. ``confirmed``: found by a re-clustering. The others are gone."""

NightState = Literal["begun", "done"]
"""``begun``: its images are recorded, but the re-clustering or the report that belongs to it is still to come."""

DecisionKind = Literal[
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
]
"""From ``born`` to ``was_split`` it is what a night, a re-clustering or a cut did; the others are a person's."""


QuestionKind = Literal["mark", "name", "wrong"]
"""What a re-clustering leaves open: whether a cluster has a mark or a name too, whether images are wrong there too."""


EventName = Literal[
    "anoclust.cluster.new",
    "anoclust.cluster.growing",
    "anoclust.cluster.merged",
    "anoclust.cluster.gone",
    "anoclust.drift",
    "anoclust.camera",
    "anoclust.quarantine",
]
"""What others are told."""


Fact = TypeVar("Fact", bound="DataclassInstance")


def fact_of(kind: type[Fact], row: object, **others: object) -> Fact:
    """Make a fact of what a row holds under the same names; ``others`` are what it names otherwise, or lacks."""
    names = [field.name for field in fields(kind) if field.name not in others]
    return kind(**{name: getattr(row, name) for name in names}, **others)


def columns_of(fact: DataclassInstance) -> dict[str, Any]:
    """What a fact holds, by name, as a row keeps it."""
    values = {field.name: getattr(fact, field.name) for field in fields(fact)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class ImageFact:
    """One image of a category.

    Attributes
    ----------
    content
        Hex digest of the file's bytes; it tells images apart. What has no bytes to hash has ``path:`` and its path.
    path
        As the user knows it, where it was seen last.
    captured_at
        When it was taken.
    night
        Night that this belongs to.
    extra
        Further manifest columns.
    quarantined
        Why it cannot be used, or None.
    first_seen
        When the catalog was first told of it; set by the catalog.
    file
        Where its bytes were last; they may be gone.
    split, label, mask, part
        As given with the data, or None.
    decided_by
        Content of the view that stands for the part, where parts are clustered and it is another one: that one has the
        cluster. None where the image stands for its part, or for itself.
    """

    content: str
    path: str
    captured_at: datetime
    night: date
    extra: Mapping[str, str] = field(default_factory=dict)
    quarantined: str | None = None
    first_seen: datetime | None = None
    file: str | None = None
    split: str | None = None
    label: str | None = None
    mask: str | None = None
    part: str | None = None
    decided_by: str | None = None


@dataclass(frozen=True, slots=True)
class AssignmentFact:
    """Where an image belongs.

    Attributes
    ----------
    content
        The image.
    cluster
        Its cluster as assigned, whatever that was merged into since; None where it is unknown.
    distance, confidence
        As in `anoclust_core.matching.assigning.Assignments`.
    """

    content: str
    cluster: str | None
    distance: float
    confidence: float


def assignment_facts(
    contents: Sequence[str],
    clusters: Sequence[str | None],
    distances: Iterable[SupportsFloat],
    confidence: Iterable[SupportsFloat],
) -> list[AssignmentFact]:
    """Where images belong, from one value of each an image; NumPy's numbers become Python's."""
    return [
        AssignmentFact(content, cluster, float(distance), float(sure))
        for content, cluster, distance, sure in zip(contents, clusters, distances, confidence, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class NightFact:
    """One night of a category.

    Attributes
    ----------
    category, night
        Which one.
    state
        How it ended.
    key
        Key of the snapshot that images were assigned to; nights of one key can be compared.
    began, ended
        When it was worked on.
    counters
        What was counted: images seen, new, assigned, unknown, new clusters, pair products; and measured.
    """

    category: str
    night: date
    state: NightState
    key: str
    began: datetime
    ended: datetime
    counters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SnapshotFact:
    """One re-clustering of a category.

    Attributes
    ----------
    category, key
        Which one; the key stands for everything that it follows from.
    made_at
        When.
    n_images
        Images that were clustered.
    merge_height
        Highest merge that the cut kept.
    details
        What else the next night needs to find: keys of stages, the run, settings.
    """

    category: str
    key: str
    made_at: datetime
    n_images: int
    merge_height: float
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterFact:
    """One cluster of a category.

    Attributes
    ----------
    category, cluster
        Which one: ``cluster`` is its lasting identity, such as ``c7``.
    state
        What it is now.
    born
        Night, or night of the re-clustering, that it was first seen in.
    name, note
        What a person says about it.
    merged_into
        Cluster that it was merged into.
    n_images
        Images that are in it now, those of clusters merged into it too.
    ordinary
        What a person says: True, it is not a defect; False, it is one; None where nobody has said it.
    """

    category: str
    cluster: str
    state: ClusterState
    born: date
    name: str | None = None
    note: str = ""
    merged_into: str | None = None
    n_images: int = 0
    ordinary: bool | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Who did something, and when.

    Attributes
    ----------
    who
        A person, or ``anoclust``.
    when
        In UTC.
    """

    who: str
    when: datetime


@dataclass(frozen=True, slots=True)
class DecisionFact:
    """Something that happened to a cluster.

    Attributes
    ----------
    number
        Of the decision, rising.
    cluster, kind
        What happened to which. Decisions about all clusters, ``cut`` and ``adopt``, have the first that they left; so
        has a ``dismiss`` that is about no cluster.
    who, when
        A person, or ``anoclust``.
    before, after
        What it changed, or the evidence.
    undone
        Whether it was taken back.
    night
        Night of a birth or a re-clustering; None where a person decided, on the day that ``when`` says.
    """

    number: int
    cluster: str
    kind: DecisionKind
    who: str
    when: datetime
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    undone: bool
    night: date | None = None


@dataclass(frozen=True, slots=True)
class QuestionFact:
    """What people decided about a cluster that a re-clustering has split or joined since, and that is not clear now.

    Attributes
    ----------
    question
        Its name, by which it is answered.
    kind
        What is asked.
    cluster
        Cluster that it is asked about.
    of
        Cluster that was decided about.
    change
        Number of the split or joining in the history.
    text
        The question, to be answered by yes or no.
    contents
        Images that it is about, if it is about some.
    """

    question: str
    kind: QuestionKind
    cluster: str
    of: str
    change: int
    text: str
    contents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """What people need not be asked about again.

    Attributes
    ----------
    placed
        Images that they put somewhere or confirmed where they are, and the cluster, by content.
    wrong
        Images that they took out of a cluster.
    dismissed
        Names of questions that they set aside.
    """

    placed: Mapping[str, str]
    wrong: frozenset[str]
    dismissed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the clusters of a category stand at one moment: what a night or a re-clustering starts from.

    Attributes
    ----------
    assigned
        Cluster of every image, by content, as assigned: merges are not followed; None where it is unknown.
    merged_into
        Clusters that were merged into another one, and that one.
    retired
        Clusters that are gone, those merged into them too.
    dismissed
        Those of them that a person retired: no re-clustering brings them back.
    placed
        Where a person put images, by content.
    known
        Living clusters that people know: told as new, named, marked or cut by them, or with images that they put there.
    provisional
        Living clusters that were born since the last re-clustering.
    wrong
        Clusters that a person took an image out of, by content, and those that a re-clustering joined these to: it
        does not go back to them by itself.
    identities
        Every identity that there ever was.
    revision
        Another one as soon as anything of it, or of what nights recorded, was changed.
    decided
        Living clusters that people named, marked, cut, merged others into, or put images into.
    split_off
        Clusters that people split off another one, or started with images of it, and that one, both living.
    n_decisions
        Decisions of people about clusters and images that stand.
    """

    assigned: Mapping[str, str | None]
    merged_into: Mapping[str, str]
    retired: frozenset[str]
    dismissed: frozenset[str]
    placed: Mapping[str, str]
    known: frozenset[str]
    provisional: frozenset[str]
    wrong: Mapping[str, frozenset[str]]
    identities: frozenset[str]
    revision: tuple[Any, ...]
    decided: frozenset[str] = frozenset()
    split_off: Mapping[str, str] = field(default_factory=dict)
    n_decisions: int = 0

    @property
    def lasting(self) -> frozenset[str]:
        """Clusters that a person put images into: no re-clustering takes them away."""
        return frozenset(self.placed.values())

    @property
    def partition(self) -> dict[str, str]:
        """Cluster of every image that has one: what `match_partitions` takes as ``old``."""
        return {
            content: cluster
            for content, cluster in self.assigned.items()
            if cluster is not None and cluster not in self.dismissed
        }


@dataclass(frozen=True, slots=True)
class NightCount:
    """Images of one night in one cluster, as they are clustered now; ``cluster`` None are the unknown."""

    night: date
    cluster: str | None
    n_images: int


@dataclass(frozen=True, slots=True)
class NoticeFact:
    """Something that others are told once.

    Attributes
    ----------
    category, notice
        Which one; ``notice`` names the fact, so that recording it again adds nothing.
    night
        Night that it was found in.
    event
        Name of the event, such as ``anoclust.cluster.new``.
    payload
        JSON values that go with it.
    sent_at
        When it was sent, or None.
    """

    category: str
    notice: str
    night: date
    event: EventName
    payload: Mapping[str, Any]
    sent_at: datetime | None = None
