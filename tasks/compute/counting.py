"""How often images count: as many times as they are there, or near-duplicates together once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.units import first_of_each, units_of
from anoclust_core.records import ImageRecord, unique_contents
from tasks.stores import arrays

GROUPS: Final = "groups"

FEWEST_UNITS: Final = 2
"""Units below which everything counts as it is there: one has nothing to be compared with."""


@dataclass(frozen=True)
class Counting:
    """Distinct contents of the clustered images, and how often each counts.

    Attributes
    ----------
    contents, counts
        Content hashes, ascending, and how many images have each.
    units
        Shape ``(n_contents,)``: what counts once, near-duplicates together; None where every image counts.
    stands_for
        Content that stands for the unit of each, of contents that do not stand for themselves.
    """

    contents: Sequence[str]
    counts: Sequence[int]
    units: NDArray[np.int64] | None = None
    stands_for: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Sequence[ImageRecord], once: str) -> Counting:
        """Count images; ``once`` is the folder of groups that count once, of stage ``near_duplicates``, or empty."""
        contents, counts = unique_contents(images)
        groups = arrays.read(Path(once), GROUPS) if once else None
        return cls.of_contents(contents, counts, groups)

    @classmethod
    def of_contents(cls, contents: Sequence[str], counts: Sequence[int], groups: NDArray[np.int64] | None) -> Counting:
        """Count contents; ``groups`` is the group of each, negative for none."""
        units = None if groups is None else units_of(groups)
        if units is None or units.max(initial=-1) + 1 < FEWEST_UNITS:
            return cls(contents, counts)
        first = first_of_each(units)
        stands = {content: contents[first[unit]] for content, unit in zip(contents, units.tolist(), strict=True)}
        return cls(contents, counts, units, {one: other for one, other in stands.items() if one != other})

    @property
    def times(self) -> list[int]:
        """How often each content counts where something is learnt from all."""
        return list(self.counts) if self.units is None else [int(one not in self.stands_for) for one in self.contents]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the contents that count."""
        return np.flatnonzero(self.times)

    @property
    def of_images(self) -> NDArray[np.int64] | None:
        """Unit of every image, in the order of ``DatasetManifest.clustered``; None where every image counts."""
        return None if self.units is None else np.repeat(self.units, self.counts)

    def reference(self, contents: Sequence[str], counts: Sequence[int]) -> Measure:
        """What rarity is measured against, of the images that are clustered: each unit counts as one image.

        Parameters
        ----------
        contents, counts
            Distinct contents of the reference, ascending, and how many images have each.
        """
        if self.units is None:
            return Measure(contents, counts)
        unit_of = dict(zip(self.contents, self.units.tolist(), strict=True))
        first: dict[int, str] = {}
        for content in contents:
            first.setdefault(unit_of[content], content)
        if len(first) < FEWEST_UNITS:
            return Measure(contents, counts)
        own = {content: first[unit] for content, unit in unit_of.items() if unit in first}
        return Measure(sorted(first.values()), [1] * len(first), own)


@dataclass(frozen=True)
class Measure:
    """Contents that rarity is measured against, how often each counts, and which of them is a content itself.

    ``own`` has the content that stands for another in ``contents``; contents that it does not have stand for themselves
    alone.
    """

    contents: Sequence[str]
    counts: Sequence[int]
    own: Mapping[str, str] = field(default_factory=dict)
