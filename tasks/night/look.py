"""What a night's pictures look like as pictures: whether the camera has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from prefect import task

from anoclust_core.matching.capture import look_of, look_of_night
from anoclust_core.records import DatasetManifest
from anoclust_core.seeding import generator
from tasks.images.decoding import UnreadableImageError, read_image
from tasks.night.place import UNTRACKED, Place
from tasks.stores.nights.folders import LOOKED_AT

MOST_LOOKED_AT: Final = 48
"""New images of a night that are looked at, drawn at random: enough for a median, and decoded in seconds."""

FEWEST_LOOKED_AT: Final = 3
"""Pictures below which nothing is said of a night, nor of its rarity: one of two may be the only defect in days."""


@task(name="look", **UNTRACKED)
def look_at(*, place: Place, given: DatasetManifest) -> dict[str, float]:
    """Brightness, sharpness and likeness of the new images, as `look_of_night` gives them, and how many these are of.

    Empty for too few.
    """
    images = given.clustered
    order = generator(0, "look").permutation(len(images))[:MOST_LOOKED_AT]
    looks = []
    for at in np.sort(order).tolist():
        try:
            pixels = read_image(Path(images[at].file), sha256=images[at].sha256, deep=place.run.spec.deep)
        except UnreadableImageError:
            continue  # told where it is embedded
        looks.append(look_of(pixels))
    if len(looks) < FEWEST_LOOKED_AT:
        return {}
    brightness, sharpness, small = (np.array(values) for values in zip(*looks, strict=True))
    return {**look_of_night(brightness, sharpness, small), LOOKED_AT: len(looks)}
