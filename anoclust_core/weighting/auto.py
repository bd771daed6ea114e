r"""Recipe ``auto``: from rarity at one feature level to whitened descriptors of several.

Every image is described by its rare patches, at several levels and temperatures, and by its mean patch:

.. math::
    x_i = \Big[ \sqrt{\tfrac{1 - g}{L T}}\;
          z_l\Big(\sum_m \alpha^{i,t}_m\, z^{i,l}_m - s\,(\bar z^{i,l} - \mu_l)\Big),\;
          \sqrt{\tfrac{g}{L}}\; z'_l\big(\bar z^{i,l}\big) \Big]_{l,\,t}

with weights :math:`\alpha` as in [SOHN23] eq. (5), whitenings :math:`z_l` of all patches and :math:`z'_l` of the mean
patches of the normals (of all patches without normals), and the residual :math:`s`, which takes away part of what is
usual in the image itself. With a fixed camera, patches are what they have beyond their place's usual patch
(`anoclust_core.weighting.places`), and rare ones count by how long they are:

.. math:: x_i = \frac{1}{\sqrt{L T}} \Big[ \frac{\lVert w \rVert\, w}{\lVert w \rVert^2 + \ell_l^2} \Big]_{l,\,t}, \quad
          w = W_l^\top \sum_m \big(\alpha^{i,t}_m - \tfrac{1}{M}\big)\, \hat z^{i,l}_m

with the median length :math:`\ell_l` of a level over all images. Where nothing is rare the sum is short and
points anywhere: as a direction it would set images without a defect apart. The mean patch tells of the light alone; it
has no part of its own and is taken away whole. Nor are such descriptors smoothed: a kind of few images would be
averaged with others.

All that is learnt from the images is in a `Scoring`, a `DescriptorModel` and, with a fixed camera, `Places`, so that
images that come later are described without moving those that were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.clustering.knee import stability
from anoclust_core.errors import ArrayContractError
from anoclust_core.weighting.auto_switches import AUTO, WHOLE_SHARE, Switches
from anoclust_core.weighting.levels import spread_weights
from anoclust_core.weighting.regions import checked_inside, filled
from anoclust_core.weighting.whitening import Moments, Whitening, learnt_from

BAGS_AT_ONCE: Final = 64
"""Bags held in memory while they are pooled."""

_ROWS_AT_ONCE: Final = 1024
"""Images described at a time."""


@dataclass(frozen=True)
class PooledLevel:
    """What is left of one feature level of some images.

    Attributes
    ----------
    rare
        Shape ``(n_images, n_taus, dim)``: patches pooled by their weights.
    whole
        Shape ``(n_images, dim)``: mean patches.
    """

    rare: NDArray[np.floating[Any]]
    whole: NDArray[np.floating[Any]]

    @property
    def plain(self) -> NDArray[np.float32]:
        """Patches pooled at the first temperature, ``(n_images, dim)``: a descriptor of [SOHN23] eq. (1)."""
        return self.rare[:, 0].astype(np.float32)

    def of(self, rows: NDArray[np.integer[Any]]) -> PooledLevel:
        """The same of some images, by their rows."""
        return PooledLevel(self.rare[rows], self.whole[rows])


def pool_level(
    read: Callable[[slice], NDArray[np.floating[Any]]],
    weights: NDArray[np.float64],
    *,
    weights_grid: tuple[int, int],
    grid: tuple[int, int],
    counts: Sequence[int] | None = None,
    at_once: int = BAGS_AT_ONCE,
    inside: NDArray[np.bool_] | None = None,
) -> tuple[PooledLevel, Moments | None]:
    """Pool the bags of distinct images on one level, a few at a time.

    Parameters
    ----------
    read
        Gives the bags of some images, shape ``(n, n_patches, dim)``, patches row by row over ``grid``.
    weights
        Shape ``(n_images, n_taus, n_weights)`` on ``weights_grid``, that of the first level; at least one image.
    weights_grid, grid
        Height and width of both grids, as `spread_weights` takes them.
    counts
        How many images are the same as each: their patches are counted for the whitening; None counts none.
    at_once
        Bags that are read at a time.
    inside
        Shape ``(n_images, n_patches)`` on ``grid``, bool: the patches that count, some of every image; None counts all.
        Weight that reaches beyond them from a finer grid goes to the nearest patch inside.

    Returns
    -------
    level, moments
        The pooled level, and what was counted; None where nothing was.

    Raises
    ------
    ArrayContractError, ConfigError
        If the shapes or grids do not fit each other.
    """
    weights = checked_array("weights", weights, "(n_images, n_taus, n_weights)", least=1)
    if inside is not None:
        inside = checked_inside(inside, (len(weights), grid[0] * grid[1]))
    taken = set(learnt_from(len(weights)).tolist())
    rare, whole, seen = [], [], None
    for start in range(0, len(weights), at_once):
        rows = slice(start, start + at_once)
        bags = checked_array("bags", read(rows), "(n_images, n_patches, dim)")
        spread = spread_weights(weights[rows], weights_grid, grid)
        if spread.shape[::2] != bags.shape[:2]:
            raise ArrayContractError(f"expected bags {spread.shape[::2]} that weights are of, found {bags.shape}")
        own = None if inside is None else inside[rows]
        if own is not None:
            bags = filled(bags, own, grid)
        rare.append(np.matmul(spread, bags.astype(np.float64)))
        whole.append(bags.mean(axis=1, dtype=np.float64) if own is None else _means(bags, own))
        if counts is not None:
            seen = seen or Moments(bags.shape[2])
            for at in range(len(bags)):
                if start + at in taken:
                    seen.add(bags[at] if own is None else bags[at][own[at]], times=counts[start + at])
    return PooledLevel(np.concatenate(rare), np.concatenate(whole)), seen


def _means(bags: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean patch inside of each image."""
    return np.stack([bag[own].mean(axis=0, dtype=np.float64) for bag, own in zip(bags, inside, strict=True)])


@dataclass(frozen=True)
class DescriptorModel:
    """All that descriptors need besides the image itself.

    Attributes
    ----------
    patches
        Whitening of the patches of each level; None leaves vectors as they are.
    images
        Whitening of the mean patches of each level, likewise.
    residual
        Part s of an image's own mean that is taken from its rare patches.
    whole_share
        Part g of a descriptor's squared length that the mean patches have.
    lengths
        Usual length of whitened rare patches on each level, where those much shorter stay short. None scales all to
        unit norm.
    """

    patches: tuple[Whitening, ...]
    images: tuple[Whitening, ...]
    residual: float
    whole_share: float = WHOLE_SHARE
    lengths: tuple[float, ...] | None = None

    def descriptors(self, levels: Sequence[PooledLevel]) -> NDArray[np.float32]:
        """Descriptors of images, before smoothing.

        Parameters
        ----------
        levels
            One for each whitening, of the same images.

        Returns
        -------
        descriptors
            Shape ``(n_images, (n_taus + 1) * sum of dims)``, float32, of unit norm but where a part has no direction;
            without a part for mean patches ``n_taus * sum of dims``. With ``lengths``, of less than unit norm.

        Raises
        ------
        ArrayContractError
            If there is another number of levels, or one has vectors of another length.
        """
        levels = checked_sequence("levels", levels)
        if len(levels) != len(self.patches):
            raise ArrayContractError(f"expected {len(self.patches)} levels, found {len(levels)}")
        n_images = len(levels[0].rare)
        steps = range(0, max(n_images, 1), _ROWS_AT_ONCE)
        return np.concatenate([self._of_rows(levels, slice(at, at + _ROWS_AT_ONCE)) for at in steps])

    def _of_rows(self, levels: Sequence[PooledLevel], rows: slice) -> NDArray[np.float32]:
        parts = []
        lengths = self.lengths or (None,) * len(levels)
        for level, patches, images, own in zip(levels, self.patches, self.images, lengths, strict=True):
            whole = level.whole[rows]
            rare = level.rare[rows] - self.residual * (whole - patches.mean)[:, None]
            length = np.sqrt((1 - self.whole_share) / (len(levels) * rare.shape[1]))
            vectors = patches.directions(rare) if own is None else _softened(patches.whitened(rare), own)
            parts.append((vectors * length).reshape(len(rare), -1))
            if self.whole_share:
                parts.append(images.directions(whole) * np.sqrt(self.whole_share / len(levels)))
        return np.concatenate(parts, axis=1).astype(np.float32)

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """As arrays at rest; `details` says how to read them."""
        return {
            "means": np.concatenate([one.mean for one in (*self.patches, *self.images)]),
            "matrices": np.concatenate([one.matrix.ravel() for one in (*self.patches, *self.images)]),
        }

    @property
    def details(self) -> dict[str, Any]:
        """JSON values beside `arrays`."""
        dims = [len(one.mean) for one in self.patches]
        lengths = {} if self.lengths is None else {"lengths": list(self.lengths)}
        return {"dims": dims, "residual": self.residual, "whole_share": self.whole_share, **lengths}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]], details: Mapping[str, Any]) -> DescriptorModel:
        """Read what `arrays` and `details` have written.

        Raises
        ------
        ArrayContractError
            If they do not belong together.
        """
        dims = [int(dim) for dim in details["dims"]] * 2
        if len(arrays["means"]) != sum(dims) or len(arrays["matrices"]) != sum(dim * dim for dim in dims):
            raise ArrayContractError("a descriptor model and its list of dimensions do not fit")
        found, mean, matrix = [], 0, 0
        for dim in dims:
            square = arrays["matrices"][matrix : matrix + dim * dim].reshape(dim, dim)
            found.append(Whitening(arrays["means"][mean : mean + dim], square))
            mean, matrix = mean + dim, matrix + dim * dim
        half = len(found) // 2
        lengths = tuple(float(length) for length in details["lengths"]) if "lengths" in details else None
        shares = float(details["residual"]), float(details["whole_share"])
        return cls(tuple(found[:half]), tuple(found[half:]), *shares, lengths)


@dataclass(frozen=True)
class FittedDescriptors:
    """Descriptors before smoothing, the plain ones of the first level, the model, and the stability of each residual.

    Plain descriptors are those of [SOHN23] eq. (1): rare patches of the first level pooled at the first temperature.
    """

    unsmoothed: NDArray[np.float32]
    plain: NDArray[np.float32]
    model: DescriptorModel
    stability: tuple[float, ...] = ()


def fit_descriptors(
    levels: Sequence[PooledLevel],
    *,
    patches: Sequence[Moments],
    normals: Sequence[Moments] | None,
    n_clusters: int | None,
    generator: np.random.Generator,
    switches: Switches = AUTO,
) -> FittedDescriptors:
    """Learn whitenings and residual from images, and describe them.

    Parameters
    ----------
    levels
        Of all images.
    patches
        Moments of their patches, level by level.
    normals
        Moments of the mean patches of known normals, level by level; None without normals.
    n_clusters
        Number that the stability of a residual is judged at; None is the knee.
    generator
        Draws the parts that stability is judged by, the same ones for every residual.
    switches
        Parts of the recipe that are on.

    Raises
    ------
    ArrayContractError
        If the levels do not fit each other, or are not finite.
    """
    levels = checked_sequence("levels", levels)
    whitenings = tuple(_whitening(seen, switches) for seen in patches)
    of_images = tuple(_whitening(seen, switches) for seen in normals) if normals else whitenings
    whole_share = switches.whole_share_normals if normals else switches.whole_share
    state = generator.bit_generator.state
    tried, judged = [], []
    for residual in switches.residuals_normals if normals else switches.residuals:
        lengths = None
        if switches.softens:
            lengths = tuple(
                _usual_length(level, seen, residual) for level, seen in zip(levels, whitenings, strict=True)
            )
        model = DescriptorModel(whitenings, of_images, residual, whole_share, lengths)
        tried.append(FittedDescriptors(model.descriptors(levels), levels[0].plain, model))
    if len(tried) > 1 and len(tried[0].unsmoothed) > 2:
        for one in tried:
            generator.bit_generator.state = state
            judged.append(stability(one.unsmoothed, n_clusters=n_clusters, generator=generator))
    best = int(np.argmax(judged)) if judged else 0
    return replace(tried[best], stability=tuple(judged))


def _usual_length(level: PooledLevel, seen: Whitening, residual: float) -> float:
    """Median length of whitened rare patches over images and temperatures; 1 where most are the mean."""
    vectors = seen.whitened(level.rare - residual * (level.whole - seen.mean)[:, None])
    return float(np.median(np.linalg.norm(vectors, axis=2))) or 1.0


def _softened(vectors: NDArray[np.float64], usual: float) -> NDArray[np.float64]:
    """Nearly unit norm where vectors are much longer than usual, and the shorter the more so where they are not."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    softened: NDArray[np.float64] = vectors * lengths / (lengths**2 + usual**2)
    return softened


def _whitening(seen: Moments, switches: Switches) -> Whitening:
    found = seen.whitening()
    return found if switches.whitens else Whitening(np.zeros(len(found.mean)), np.eye(len(found.mean)))
