"""Near-duplicates of a run, as its report, tables and summary tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anoclust_core.config import COUNT_ONCE, RunConfig
from anoclust_core.records import ImageRecord, unique_contents
from tasks.compute.counting import GROUPS
from tasks.stores import arrays


@dataclass(frozen=True)
class Alike:
    """Groups of near-duplicates among clustered images, copies included.

    Attributes
    ----------
    numbers
        Number of each image's group, from 1; None for an image in none.
    notes
        What a reader must know, as sentences.
    """

    numbers: Sequence[int | None]
    notes: Sequence[str] = field(default=())

    @property
    def groups(self) -> list[list[int]]:
        """Rows of the images of each group."""
        found: dict[int, list[int]] = {}
        for row, number in enumerate(self.numbers):
            if number is not None:
                found.setdefault(number, []).append(row)
        return [found[number] for number in sorted(found)]

    def by_content(self, images: Sequence[ImageRecord]) -> dict[str, int]:
        """Number of the group of each of the images, which are those that it was made of; none for the others."""
        return {image.sha256: number for image, number in zip(images, self.numbers, strict=True) if number is not None}


def alike_images(
    images: Sequence[ImageRecord],
    near_duplicates: Path | None,
    config: RunConfig,
) -> Alike:
    """Read the groups that stage ``near_duplicates`` found; without one, only copies are near-duplicates.

    Parameters
    ----------
    images
        Clustered images, in their order.
    near_duplicates
        Folder of the stage, or None where no images were compared.
    config
        Of the run.
    """
    contents, counts = unique_contents(images)
    groups = np.full(len(contents), -1) if near_duplicates is None else arrays.read(near_duplicates, GROUPS)
    names = [
        f"group {group}" if group >= 0 else content if count > 1 else None
        for content, count, group in zip(contents, counts, groups.tolist(), strict=True)
        for _ in range(count)
    ]
    numbers: dict[str, int] = {}
    for name in names:
        if name is not None:
            numbers.setdefault(name, len(numbers) + 1)
    found = [None if name is None else numbers[name] for name in names]
    if near_duplicates is None:
        return Alike(found)
    if not (arrays.describe(near_duplicates) or {}).get("is_searched", True):
        return Alike(
            found, ["Near-duplicates were not looked for: there are too many patches for that, or too little memory."]
        )
    n_alike = sum(number is not None for number in found)
    if not n_alike:
        return Alike(found)
    is_once = config.pair.near_duplicates == COUNT_ONCE
    how = "each part counts once" if is_once else "each of them counts"
    return Alike(
        found,
        [
            f"{n_alike:,} of {len(images):,} images are near-duplicates: {len(numbers):,} parts that were exposed "
            f"several times, or copies; {how} (--near-duplicates {config.pair.near_duplicates})."
        ],
    )
