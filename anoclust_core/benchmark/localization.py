"""How well maps of scores find defects: images from their labels, pixels and regions from ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, TRUTHS, checked_array, checked_sequence
from anoclust_core.benchmark.geometry import enlarged
from anoclust_core.errors import ArrayContractError
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.evaluation.ranking import image_auroc, per_region_overlap, pixel_auroc
from anoclust_core.records import GOOD


def localization_scores(
    maps: NDArray[np.floating[Any]],
    labels: Sequence[str | None],
    masks: NDArray[np.bool_] | None,
    *,
    protocol: Protocol,
) -> dict[str, float]:
    """Scores of [ARDELEAN24] Table 2, as far as the data allow them.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite, any unit, larger where a defect is more likely. The largest value
        of a map is its image's score.
    labels
        One per image; every label but ``good`` is a defect.
    masks
        Shape ``(n_images, side, side)``, True where the defect is, or None without ground truth.
    protocol
        Images that it does not score are left out.

    Returns
    -------
    scores
        ``image_auroc`` where there are good and defective images; ``pixel_auroc`` and ``pro`` where there are masks.
    """
    maps = checked_array("maps", maps, "(n_images, height, width)", least=1)
    labels = checked_sequence("labels", labels, LABELS)
    if masks is not None:
        masks = checked_array("masks", masks, "(n_images, side, side)", kinds=TRUTHS, least=1)
    if len(maps) != len(labels) or (masks is not None and len(masks) != len(maps)):
        n_masks = "" if masks is None else f" and {len(masks)} masks"
        raise ArrayContractError(f"expected a map per label, found {len(maps)} maps, {len(labels)} labels{n_masks}")
    rows = np.array([row for row, label in enumerate(labels) if protocol.scores_label(label)], np.int64)
    is_defect = np.array([labels[row] != GOOD for row in rows], np.bool_)
    found = {}
    if is_defect.any() and not is_defect.all():
        found["image_auroc"] = image_auroc(maps[rows].max(axis=(1, 2)), is_defect)
    if masks is not None and len(rows):
        found |= pixel_scores(maps[rows], masks[rows])
    return found


def pixel_scores(maps: NDArray[np.floating[Any]], masks: NDArray[np.bool_]) -> dict[str, float]:
    """``pixel_auroc`` and ``pro`` of maps, enlarged bilinearly to the side of the masks; none without both kinds."""
    maps = checked_array("maps", maps, "(n_images, height, width)", least=1)
    masks = checked_array("masks", masks, "(n_images, side, side)", kinds=TRUTHS, least=1)
    if not masks.any() or masks.all():
        return {}
    large = enlarged(maps, masks.shape[1])
    return {"pixel_auroc": pixel_auroc(large, masks), "pro": per_region_overlap(large, masks)}
