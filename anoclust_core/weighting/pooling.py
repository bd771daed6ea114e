"""Pooling baselines: one descriptor per image without asking which patches are rare, [SOHN23] Table 9.

What the paper says of them is their names, ``p = 20``, ``sigma = 1000`` and 512 words. Patches have unit L2 norm there
(sec. 4), descriptors are not normalised once more: SPoC is printed with the scores of the average to the last digit,
which a length of 1 or the whitening of the original SPoC would have changed. So here too. All functions take bags as
they are, and raw feature maps ``(n_images, n_cells, dim)`` as well. The baseline *holistic* is
`anoclust_core.embedding.extraction.embed_holistically`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.arrays import checked_array, checked_grid
from anoclust_core.errors import ArrayContractError, ConfigError

GEM_POWER: Final = 20.0
"""Exponent of generalised-mean pooling in [SOHN23] Table 9."""

SPOC_SIGMA: Final = 1000.0
"""Width of the centre prior in [SOHN23] Table 9, in cells: on a grid of 32 x 32 all cells count alike."""

N_WORDS: Final = 512
"""Size of the codebook in [SOHN23] Table 9."""


def average_pool(bags: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""Mean patch of each image, the distance *average* of [SOHN23] sec. 4.1.

    .. math:: x_i = \frac{1}{M} \sum_m z^i_m

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite.

    Returns
    -------
    descriptors
        Shape ``(n_images, dim)``, float32, summed in float64; the same as with uniform weights.

    Raises
    ------
    ArrayContractError
        If ``bags`` is not three-dimensional, has no patches or features, or is not finite.
    """
    return np.asarray(_check_features(bags).mean(axis=1, dtype=np.float64), dtype=np.float32)


def max_pool(bags: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""Largest value of each feature over an image's patches.

    .. math:: x_{id} = \max_m z^i_{md}

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite, of any sign.

    Returns
    -------
    descriptors
        Shape ``(n_images, dim)``, float32.

    Raises
    ------
    ArrayContractError
        As `average_pool`.
    """
    return np.asarray(_check_features(bags).max(axis=1))


def gem_pool(bags: NDArray[np.floating[Any]], *, p: float = GEM_POWER) -> NDArray[np.float32]:
    r"""Generalised mean of each feature over an image's patches (GeM; Radenovic et al., 2018).

    .. math:: x_{id} = \Big( \frac{1}{M} \sum_m \max(z^i_{md}, 0)^p \Big)^{1/p}

    It is made for features behind a ReLU. Negative ones, as the linear layers of an EfficientNet give them, count as
    0, as in its authors' code (which clamps at 1e-6): a large negative value is the absence of a feature, which an even
    ``p`` would take for its presence.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite.
    p
        From 1, the mean of the positive parts, towards infinity, their maximum.

    Returns
    -------
    descriptors
        Shape ``(n_images, dim)``, float32, not negative.

    Raises
    ------
    ArrayContractError
        As `average_pool`.
    ConfigError
        If ``p`` is below 1 or not finite.
    """
    if not 1 <= p < np.inf:
        raise ConfigError(f"the power of a generalised mean must be a number of at least 1; found {p}")
    checked = _check_features(bags)
    pooled = np.empty((len(checked), checked.shape[2]), np.float32)
    for at, bag in enumerate(checked):
        positive = np.maximum(bag, 0).astype(np.float64)
        # in units of the largest value, powers of 20 neither overflow nor vanish
        largest = positive.max(axis=0)
        with np.errstate(under="ignore"):
            powers = (positive / np.where(largest > 0, largest, 1)) ** p
        pooled[at] = largest * powers.mean(axis=0) ** (1 / p)
    return pooled


def spoc_pool(
    bags: NDArray[np.floating[Any]], grid: tuple[int, int], *, sigma: float = SPOC_SIGMA
) -> NDArray[np.float32]:
    r"""Mean patch of each image under a Gauss prior around its centre (SPoC; Babenko & Lempitsky, 2015).

    .. math:: x_i = \sum_m \alpha_m z^i_m, \quad
        \alpha_m \propto \exp\Big( -\frac{(r_m - \bar r)^2 + (c_m - \bar c)^2}{2 \sigma^2} \Big)

    with the row r and column c of a patch and those of the grid's middle. The weights sum to 1, which the original's do
    not; its PCA whitening and length of 1 are left out, see above.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite, patches row by row.
    grid
        Height and width of the patch grid.
    sigma
        Width > 0 in cells; large, this is `average_pool`.

    Returns
    -------
    descriptors
        Shape ``(n_images, dim)``, float32, summed in float64.

    Raises
    ------
    ArrayContractError
        As `average_pool`, or if the grid has another number of patches.
    ConfigError
        If ``sigma`` is not a positive finite number.
    """
    if not 0 < sigma < np.inf:
        raise ConfigError(f"the width of the centre prior must be a positive number of cells; found {sigma}")
    checked = _check_features(bags)
    height, width = checked_grid("the patch grid", grid)
    if height < 1 or width < 1 or height * width != checked.shape[1]:
        raise ArrayContractError(
            f"a grid of {height} x {width} does not have the {checked.shape[1]} patches of a bag; found {checked.shape}"
        )
    rows, columns = np.indices((height, width), dtype=np.float64).reshape(2, -1)
    squared = (rows - (height - 1) / 2) ** 2 + (columns - (width - 1) / 2) ** 2
    with np.errstate(over="ignore", under="ignore"):
        # measured from the innermost cells, whose weight stays 1 however small sigma is
        prior = np.exp(-(squared - squared.min()) / sigma / sigma / 2)
    prior /= prior.sum()
    pooled = np.empty((len(checked), checked.shape[2]), np.float32)
    for at, bag in enumerate(checked):
        pooled[at] = prior @ bag.astype(np.float64)
    return pooled


def bag_of_words(
    bags: NDArray[np.floating[Any]], *, generator: np.random.Generator, n_words: int = N_WORDS
) -> NDArray[np.float32]:
    """Share of an image's patches nearest to each word of a codebook: k-means over the patches of all images.

    The words do not depend on the order of images or patches, only on the generator: patches are brought into an order
    of their own first. What else is left open by the paper: assignment is hard, words are not weighted by their
    rarity, and the codebook is made from the very images that are clustered.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite, at least one image.
    generator
        Draws the first words and the batches of mini-batch k-means.
    n_words
        At least 1. Where there are fewer distinct patches, each is a word and the columns left over are 0.

    Returns
    -------
    histograms
        Shape ``(n_images, n_words)``, float32; every row sums to 1.

    Raises
    ------
    ArrayContractError
        As `average_pool`, or if there is no image.
    ConfigError
        If ``n_words`` is not positive.
    """
    from sklearn.cluster import MiniBatchKMeans  # a second with all of scikit-learn, only for those who come here

    if n_words < 1:
        raise ConfigError(f"a codebook has at least 1 word; found {n_words}")
    checked = _check_features(bags)
    n_images, n_patches, dim = checked.shape
    if n_images == 0:
        raise ArrayContractError("a codebook needs patches of at least one image; found none")
    # in units of the largest value, whose squares neither overflow nor vanish, and without a -0 beside 0
    patches = np.ascontiguousarray(checked.reshape(-1, dim)) / (np.abs(checked).max() or np.float32(1)) + np.float32(0)
    rows = patches.view(np.dtype((np.void, patches.itemsize * dim))).ravel()
    distinct, kinds, counts = np.unique(rows, return_inverse=True, return_counts=True)
    words = np.arange(len(distinct))
    if len(distinct) > n_words:
        points = distinct.view(np.float32).reshape(-1, dim)
        codebook = MiniBatchKMeans(n_words, n_init=1, random_state=int(generator.integers(2**32)))
        # on one thread the result does not depend on the machine, and a busy one is faster: steps are short
        with threadpool_limits(limits=1):
            words = codebook.fit(points, sample_weight=counts).predict(points)
    images = words[kinds].reshape(n_images, n_patches)
    histograms = np.stack([np.bincount(image, minlength=n_words) for image in images]) / n_patches
    return np.asarray(histograms, dtype=np.float32)


def _check_features(bags: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Features in single precision, whatever they came in."""
    bags = checked_array("bags", bags, "(n_images, n_patches, dim)")
    with np.errstate(over="ignore"):
        values = np.asarray(bags, dtype=np.float32)
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ArrayContractError(f"bags must have shape (n_images, n_patches, dim); found {values.shape}")
    if not np.isfinite(values).all():
        raise ArrayContractError("bags must be finite; found NaN or infinity: check the backbone's weights")
    return values
