"""Recipe ``auto``: how rare a patch is, by one score or by three, and the weights that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.config.setting import parse_tau
from anoclust_core.errors import ArrayContractError
from anoclust_core.records import Role
from anoclust_core.weighting.auto_switches import AUTO, SHARE, Switches
from anoclust_core.weighting.rarity import Counts, IsReference, Nearest, rarity_against_normals, trimmed_rarity
from anoclust_core.weighting.regions import checked_inside
from anoclust_core.weighting.weights import soft_weights, temperature

NORMAL_SHARE: Final = 0.05
"""Nearest part of the normals in the second of the three scores against them."""

SECOND_TAU: Final = 2.0
"""The second temperature, in multiples of the first."""

N_SCORES: Final = 3
"""Scores of a patch against normals, `scores_against_normals`; against other images there is one."""


def scores_against_normals(nearest: Nearest, counts: Counts, *, share: float = SHARE) -> NDArray[np.float64]:
    """Three scores of every patch against normals: the nearest, the nearest twentieth and the nearest ``share``.

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_normals, n_patches)``, finite, at least one normal.
    counts
        Shape ``(n_normals,)``: how many normals have each content.
    share
        Largest part.

    Returns
    -------
    scores
        Shape ``(n_rows, n_patches, 3)``, float64, in embedding units.

    Raises
    ------
    ArrayContractError, ConfigError
        As `trimmed_rarity`.
    """
    nearest = checked_array("nearest", nearest, "(n_images, n_normals, n_patches)", lists=False)
    none = np.zeros(len(nearest), np.bool_)
    parts = [trimmed_rarity(nearest, counts, share=part, is_reference=none) for part in (NORMAL_SHARE, share)]
    return np.stack([rarity_against_normals(nearest), *parts], axis=-1)


def patch_scores(
    nearest: Nearest, counts: Counts, *, is_reference: IsReference = None, role: Role, switches: Switches = AUTO
) -> NDArray[np.float64]:
    """Scores of every patch: three against normals, or one against the other images.

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_contents, n_patches)``, finite: distances of some images to every distinct content of the
        reference, as `trimmed_rarity` takes them.
    counts
        Shape ``(n_contents,)``: how many images of the reference have each content.
    is_reference
        Shape ``(n_rows,)``: whether the image itself is in the reference; all are by default. Of no account against
        normals.
    role
        What the reference is: ``normal`` or, for the images that are clustered, ``cluster``.
    switches
        Parts of the recipe that are on.

    Returns
    -------
    scores
        Shape ``(n_rows, n_patches, n_scores)``, float64, in embedding units.

    Raises
    ------
    ArrayContractError, ConfigError
        As `trimmed_rarity`.
    """
    if role == "cluster":
        return trimmed_rarity(nearest, counts, is_reference=is_reference, share=switches.share)[..., None]
    scores = scores_against_normals(nearest, counts, share=switches.share)
    return scores if switches.mixes_normals else scores[..., :1]


@dataclass(frozen=True)
class Scoring:
    """How several scores of a patch are added up, and the temperatures of its weights.

    Attributes
    ----------
    shifts, scales
        One a score: it is shifted and divided by these before the sum. A single score is taken as it is.
    taus
        Temperatures, each > 0, in the unit of the sum.
    """

    shifts: tuple[float, ...]
    scales: tuple[float, ...]
    taus: tuple[float, ...]

    def summed(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Shape ``(..., n_scores)`` to ``(...)``.

        Raises
        ------
        ArrayContractError
            If there is another number of scores.
        """
        scores = checked_array("scores", scores, "(..., n_scores)")
        if scores.shape[-1] != len(self.scales):
            raise ArrayContractError(f"expected {len(self.scales)} scores a patch, found shape {scores.shape}")
        summed: NDArray[np.float64] = ((scores - np.array(self.shifts)) / np.array(self.scales)).sum(axis=-1)
        return summed

    def weights(self, rarity: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Weights for every temperature: ``(n_images, n_patches)`` to ``(n_images, n_taus, n_patches)``.

        Raises
        ------
        ArrayContractError
            As `soft_weights`.
        """
        return np.stack([soft_weights(rarity, tau=tau) for tau in self.taus], axis=1)


def fit_scoring(
    scores: NDArray[np.floating[Any]],
    *,
    tau: str,
    n_taus: int = AUTO.n_taus,
    inside: NDArray[np.bool_] | None = None,
) -> Scoring:
    """Learn from all images of a run how scores are added up.

    Parameters
    ----------
    scores
        Shape ``(n_images, n_patches, n_scores)``, finite, a row for every image. Several scores are brought to mean 0
        and deviation 1 each.
    tau
        First temperature, as `anoclust_core.weighting.weights.temperature` takes it; the second is twice that.
    n_taus
        1 or 2.
    inside
        Shape ``(n_images, n_patches)``, bool: the patches that it is learnt from, some of every image; None is all. The
        scores of others are not looked at.

    Raises
    ------
    ArrayContractError, ConfigError
        As `temperature` and `checked_inside`.
    """
    scores = checked_array("scores", scores, "(n_images, n_patches, n_scores)", least=1)
    if inside is not None:
        scores = scores[checked_inside(inside, (scores.shape[0], scores.shape[1]))][None]
    shifts, scales = (0.0,), (1.0,)
    if scores.shape[2] > 1:
        deviations = scores.std(axis=(0, 1), dtype=np.float64)
        shifts = tuple(scores.mean(axis=(0, 1), dtype=np.float64).tolist())
        scales = tuple(np.where(deviations > 0, deviations, 1).tolist())
    value, is_relative = parse_tau(tau)
    unit = "sd" if is_relative else ""
    summed = Scoring(shifts, scales, ()).summed(scores)
    wanted = (value, SECOND_TAU * value)[:n_taus]
    return Scoring(shifts, scales, tuple(temperature(f"{one}{unit}", summed) for one in wanted))


def scoring_details(scoring: Scoring) -> dict[str, Any]:
    """A scoring as JSON values."""
    return {name: list(values) for name, values in asdict(scoring).items()}


def scoring_from(details: Mapping[str, Any]) -> Scoring:
    """Read what `scoring_details` has written."""
    return Scoring(*(tuple(float(value) for value in details[name]) for name in ("shifts", "scales", "taus")))
