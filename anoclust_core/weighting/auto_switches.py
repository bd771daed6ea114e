"""Parts of recipe ``auto`` that can be turned off, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHARE: Final = 0.3
"""Nearest part of the other images that rarity is measured against: what a third of them have is not rare."""

WHOLE_SHARE: Final = 0.15
"""Part g of a descriptor's squared length that the mean patches have, blind."""

WHOLE_SHARE_NORMALS: Final = 0.25
"""The same with normals, whose mean patches say what is usual in a whole image."""

RESIDUALS: Final = (0.0, 0.5)
"""Residuals s that are tried blind; the one whose clusters are more stable is taken, the first where both are."""

RESIDUALS_NORMALS: Final = (0.5,)
"""The same with normals, where half was better on every set, so that there is nothing to try."""


@dataclass(frozen=True)
class Switches:
    """Parts of the recipe that the ablation turns off.

    Attributes
    ----------
    n_levels, n_taus
        Feature levels and temperatures, the first ones.
    share
        As ``SHARE``; 1 is the expectation of [SOHN23] eq. (5).
    mixes_normals
        Whether three scores against normals are added up; else the nearest normal alone, [SOHN23] eq. (6).
    whitens
        Whether vectors are whitened; else they are scaled to unit norm as they are.
    whole_share, whole_share_normals
        As ``WHOLE_SHARE`` and ``WHOLE_SHARE_NORMALS``.
    smooths
        Whether descriptors are averaged with their neighbours.
    softens
        Whether short pooled patches stay short; else all are scaled to unit norm.
    residuals, residuals_normals
        Residuals to choose from, blind and with normals.
    """

    n_levels: int = 2
    n_taus: int = 2
    share: float = SHARE
    mixes_normals: bool = True
    whitens: bool = True
    whole_share: float = WHOLE_SHARE
    whole_share_normals: float = WHOLE_SHARE_NORMALS
    smooths: bool = True
    residuals: tuple[float, ...] = RESIDUALS
    residuals_normals: tuple[float, ...] = RESIDUALS_NORMALS
    softens: bool = False


AUTO: Final = Switches()

FIXED_CAMERA: Final = Switches(
    whole_share=0,
    whole_share_normals=0,
    smooths=False,
    residuals=(1.0,),
    residuals_normals=(1.0,),
    softens=True,
)
"""Of frames whose patches are compared near their own place only, without what is usual there."""
