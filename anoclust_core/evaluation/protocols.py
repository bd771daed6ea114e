"""Named evaluation protocols: which images count, into how many clusters, which F1 is the headline.

Light to import: a run is planned with it before anything heavy is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from anoclust_core.arrays import LABELS, checked_sequence, named

if TYPE_CHECKING:
    from anoclust_core.evaluation.partitions import F1Average, Scores

COMBINED: Final = "combined"
"""MVTec's class of images with several defect types at once; no protocol scores it."""


@dataclass(frozen=True)
class Protocol:
    """How a published score is made.

    Attributes
    ----------
    name
        Named beside every score.
    f1_average
        Average of the matched F1 that the protocol's tables print.
    dropped
        Labels whose images leave the data before weights and clustering.
    unscored
        Labels whose images no score counts; holds all of ``dropped``.
    """

    name: str
    f1_average: F1Average
    dropped: frozenset[str]
    unscored: frozenset[str]

    def keeps_for_clustering(self, label: str | None) -> bool:
        """Whether an image with this label is clustered; an image without a label always is."""
        return label not in self.dropped

    def scores_label(self, label: str | None) -> bool:
        """Whether an image with this label counts in the scores; an image without a label never does."""
        return label is not None and label not in self.unscored

    @property
    def f1_name(self) -> str:
        """Name of that F1 among the scores."""
        return f"f1_{self.f1_average}"

    def headline_f1(self, scores: Scores) -> float:
        """Return the one F1 of ``scores`` that this protocol's tables print, in [0, 1]."""
        return float(getattr(scores, self.f1_name))


SOHN: Final = Protocol("sohn", f1_average="weighted", dropped=frozenset(), unscored=frozenset({COMBINED}))
"""[SOHN23] sec. 4."""

ARDELEAN: Final = Protocol(
    "ardelean", f1_average="micro", dropped=frozenset({COMBINED}), unscored=frozenset({COMBINED})
)
"""Ardelean and Weyrich 2024."""

NCD: Final = Protocol("ncd", f1_average="micro", dropped=frozenset({COMBINED}), unscored=frozenset({COMBINED}))
"""AnomalyNCD, CVPR 2025."""

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({p.name: p for p in (SOHN, ARDELEAN, NCD)})


def protocol_named(name: str) -> Protocol:
    """Protocol by the name that a user types; a `ConfigError` if there is none."""
    return named("a protocol", PROTOCOLS, name)


def n_classes(protocol: Protocol, labels: Sequence[str | None]) -> int:
    """Count the distinct labels evaluated, ``good`` included: the K that the protocol clusters into.

    Parameters
    ----------
    protocol
        Decides which labels count.
    labels
        One label per image, None for an unlabelled one.

    Returns
    -------
    n_classes
        0 where no image has a label that counts.
    """
    labels = checked_sequence("labels", labels, LABELS)
    return len({label for label in labels if protocol.scores_label(label)})
