"""Feature correspondence analysis: which cells of one image differ from the texture around them.

Every value of every window is needed with its rank in that window. Sorting windows would find the ranks, but windows
next to each other share nearly all of their comparisons: the rank of a value is the number of smaller ones around it,
so one comparison with each of the 13 x 13 cells around a cell, summed over 7 x 7 boxes, gives its ranks in all 49
windows that hold it. Maps are laid out as one long line, a block of cells is compared at a time, and the inner loops
are of a fixed length: the compiler turns them into vector instructions on single bytes.

Of equal values the one that comes first, row by row, has the lower rank. ReLU features are full of zeros, and any other
order changes the map by more than its standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.blur import blur_matrix, gaussian_window
from anoclust_core.localization.checks import FeatureStack, check_count, check_feature_map, check_stack

TILE: Final = 7
"""Side of a window in cells."""

SIGMA_P: Final = 3.0
"""Standard deviation, in cells, of the Gaussian that lets a window speak most for its middle."""

SIGMA_S: Final = 1.0
"""Standard deviation, in cells, of the blur of a window's errors."""

LARGEST_TILE: Final = 15
"""A rank in a larger window would not fit in a byte."""

ERROR_BLUR: Final = 5
"""Cells of the window that blurs errors, as published."""

_BLOCK: Final = 512
"""Cells that are ranked together: their comparisons stay in the core's cache. 256 to 1,024 take the same time."""


def anomaly_map(
    features: NDArray[np.floating[Any]], *, tile: int = TILE, sigma_p: float = SIGMA_P, sigma_s: float = SIGMA_S
) -> NDArray[np.float32]:
    r"""Anomaly map of one image by feature correspondence analysis, the FCA of [ARDELEAN24] eq. (1).

    The texture's normal values are those that a ``tile`` x ``tile`` window usually has: cut into windows side by side,
    each sorted, the median over windows at each rank r is the reference :math:`R_c(r)`. With :math:`r_{wc}(p)` the rank
    of cell p among the values of channel c in window w,

    .. math::
        e_w(p) = \operatorname{mean}_c | F_c(p) - R_c(r_{wc}(p)) |, \qquad
        A(p) = \sum_{w \ni p} P(p - w) \, (G * e_w)(p)

    over all windows of the map padded by reflection, with G a 5 x 5 Gaussian blur inside the window, reflected at
    its edge, and P a Gaussian that sums to 1. Exact: equal to sorting every window stably, up to the rounding of sums.

    The first call of a process compiles for about two seconds. 512 x 64 x 64 then takes about 0.2 s on one core.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite, sides of at least ``tile``: a VAE's residual, or plain features scaled
        by `vae.scale_channels`.
    tile
        Side of a window in cells, odd, from 3 to 15.
    sigma_p, sigma_s
        Standard deviations of P and G in cells, > 0.

    Returns
    -------
    anomaly_map
        Shape ``(height, width)``, float32, >= 0, in the unit of the features; larger where more anomalous. A map that
        is constant in every channel has 0 everywhere.

    Raises
    ------
    ArrayContractError
        If the features are not three-dimensional and finite, smaller than a window, or so large that the map is not
        finite.
    ConfigError
        If ``tile`` or a standard deviation is out of range.
    """
    patches = patch_matrix(tile, sigma_p, sigma_s)
    return _anomaly_map(features, tile, patches)


def anomaly_maps(
    features: FeatureStack,
    *,
    tile: int = TILE,
    sigma_p: float = SIGMA_P,
    sigma_s: float = SIGMA_S,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Anomaly maps of many images, each as `anomaly_map` makes it, to the last digit.

    Parameters
    ----------
    features
        Shape ``(n_images, dim, height, width)``, an array or a memory-mapped one: an image at a time is read.
    tile, sigma_p, sigma_s
        As in `anomaly_map`.
    threads
        Images that are worked on side by side, >= 1. Each needs about three times the memory of its features.

    Returns
    -------
    anomaly_maps
        Shape ``(n_images, height, width)``, float32, >= 0, in the unit of the features.

    Raises
    ------
    ArrayContractError, ConfigError
        As `anomaly_map`; also if there is no image, or no thread.
    """
    n_images, *_ = check_stack(features)
    check_count(threads, "threads")
    patches = patch_matrix(tile, sigma_p, sigma_s)
    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(lambda image: _anomaly_map(features[image], tile, patches), range(n_images))))


def patch_matrix(tile: int, sigma_p: float, sigma_s: float) -> NDArray[np.float64]:
    """Matrix from a window's errors to what the window adds to the map: blur inside it, then weights of its cells.

    Both are linear and the same for every window, so they are applied once, after the mean over channels.

    Returns
    -------
    matrix
        Shape ``(tile ** 2, tile ** 2)``, float64, >= 0; cells row by row, columns are errors.

    Raises
    ------
    ConfigError
        If ``tile`` is not odd and from 3 to 15, or a standard deviation is not a positive finite number.
    """
    if tile not in range(3, LARGEST_TILE + 1, 2):
        raise ConfigError(f"a window's side must be odd and from 3 to {LARGEST_TILE} cells; found {tile}")
    blur = blur_matrix(tile, size=ERROR_BLUR, sigma=sigma_s)
    window = gaussian_window(tile, sigma_p)
    matrix: NDArray[np.float64] = np.outer(window, window).reshape(-1, 1) * np.kron(blur, blur)
    return matrix


def usual_values(features: NDArray[np.float32], *, tile: int) -> NDArray[np.float32]:
    """What the windows of a texture usually hold: at each rank the median over windows that lie side by side.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``; cells right and below of the last whole window do not count.
    tile
        Side of a window in cells.

    Returns
    -------
    reference
        Shape ``(dim, tile ** 2)``, float32, ascending; of an even number of windows the lower middle one.

    Raises
    ------
    ArrayContractError
        If the map is smaller than a window.
    """
    features = checked_array("features", features, "(dim, height, width)")
    dim, height, width = features.shape
    down, across = height // tile, width // tile
    if not down or not across:
        raise ArrayContractError(
            f"windows of {tile} x {tile} cells need a map at least as large; found {features.shape}"
        )
    whole = features[:, : down * tile, : across * tile].reshape(dim, down, tile, across, tile)
    windows = np.sort(whole.transpose(0, 1, 3, 2, 4).reshape(dim, down * across, tile * tile), axis=2)
    middle = (down * across - 1) // 2
    return np.ascontiguousarray(np.partition(windows, middle, axis=1)[:, middle])


def _anomaly_map(features: NDArray[np.floating[Any]], tile: int, patches: NDArray[np.float64]) -> NDArray[np.float32]:
    """`anomaly_map` with the constant matrix; checks the features only."""
    checked = np.ascontiguousarray(check_feature_map(features))
    errors = _mean_errors(checked, usual_values(checked, tile=tile), tile)
    _, height, width = checked.shape
    padded = np.zeros((height + tile - 1, width + tile - 1))
    places = [(at // tile, at % tile) for at in range(tile * tile)]
    windows = np.stack([errors[at, y : y + height, x : x + width] for at, (y, x) in enumerate(places)])
    reach = tile // 2
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        for (y, x), part in zip(places, np.tensordot(patches, windows, axes=1), strict=True):
            padded[y : y + height, x : x + width] += part
        finished = padded[reach : reach + height, reach : reach + width].astype(np.float32)
    if not np.isfinite(finished).all():
        raise ArrayContractError(f"features of up to {np.abs(checked).max():.3g} give no finite map; scale them down")
    return finished


def _mean_errors(features: NDArray[np.float32], reference: NDArray[np.float32], tile: int) -> NDArray[np.float64]:
    """Errors of the padded map's cells, ``(tile ** 2, height + tile - 1, width + tile - 1)``.

    Mean over channels. Position ``p`` is for the window in which the cell is the ``p``-th; where that window leaves the
    padded map the value means nothing.
    """
    dim, height, width = features.shape
    reach = tile // 2
    rows, columns = height + tile - 1, width + tile - 1
    n_cells = rows * columns
    n_blocks = -(-n_cells // _BLOCK)
    # a cell's neighbours are at fixed distances on the line; ahead and behind it must reach as far as they do
    ahead = (tile - 1) * (columns + 1)
    line = np.zeros((dim, n_blocks * _BLOCK + 2 * ahead), np.float32)
    padded = line[:, ahead : ahead + n_cells].reshape(dim, rows, columns)
    padded[:] = np.pad(features, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    errors = np.empty((tile * tile, n_blocks * _BLOCK))
    add_errors = _compiled(tile)
    for start in range(0, n_blocks * _BLOCK, _BLOCK):
        add_errors(line, ahead + start, columns, reference, errors[:, start : start + _BLOCK])
    means: NDArray[np.float64] = errors[:, :n_cells].reshape(-1, rows, columns) / dim
    return means


@cache
def _compiled(tile: int) -> Callable[..., None]:
    """Machine code for one size of window; constant sizes of all loops halve its time.

    It is not kept on disk: an installation may lie where nothing can be written. It runs without the interpreter's lock
    and in the calling thread, unlike Numba's own threads, which end the process when two threads start them at once.
    """
    import numba  # half a second, only for those who come here

    span, n_places = 2 * tile - 1, tile * tile

    def add_errors(
        line: NDArray[np.float32],
        start: int,
        columns: int,
        reference: NDArray[np.float32],
        errors: NDArray[np.float64],
    ) -> None:
        below = np.zeros((span, _BLOCK), np.uint8)  # is the neighbour in this column of the current row smaller?
        in_row = np.zeros(
            (tile, span, _BLOCK), np.uint8
        )  # smaller ones in each row of neighbours, by place in a window
        rank = np.zeros(_BLOCK, np.uint8)
        sums = np.zeros((n_places, _BLOCK), np.float32)
        errors[:] = 0
        for channel in range(line.shape[0]):
            values = line[channel, start : start + _BLOCK]
            usual = reference[channel]
            for j in range(span):
                for k in range(span):
                    at = start + (j - tile + 1) * columns + (k - tile + 1)
                    others = line[channel, at : at + _BLOCK]
                    smaller = below[k]
                    if at < start:  # it comes first, so an equal one counts as smaller
                        for i in range(_BLOCK):
                            smaller[i] = others[i] <= values[i]
                    else:
                        for i in range(_BLOCK):
                            smaller[i] = others[i] < values[i]
                total = in_row[tile - 1, j]
                total[:] = 0
                for k in range(tile):
                    smaller = below[k]
                    for i in range(_BLOCK):
                        total[i] = np.uint8(total[i] + smaller[i])
                for x in range(tile - 2, -1, -1):  # one place to the left: one column leaves, one comes
                    before, total = in_row[x + 1, j], in_row[x, j]
                    gone, come = below[tile - 2 - x], below[span - 1 - x]
                    for i in range(_BLOCK):
                        total[i] = np.uint8(before[i] + come[i] - gone[i])
            for x in range(tile):
                rank[:] = 0
                for j in range(tile):
                    total = in_row[x, j]
                    for i in range(_BLOCK):
                        rank[i] += total[i]
                for y in range(tile - 1, -1, -1):
                    error = sums[y * tile + x]
                    for i in range(_BLOCK):
                        error[i] += abs(values[i] - usual[rank[i]])
                    if y > 0:  # one place up: one row leaves, one comes
                        gone, come = in_row[x, tile - 1 - y], in_row[x, span - y]
                        for i in range(_BLOCK):
                            rank[i] += come[i] - gone[i]
            if channel % 64 == 63 or channel == line.shape[0] - 1:  # short sums in float32, long ones in float64
                errors += sums
                sums[:] = 0

    compiled: Callable[..., None] = numba.njit(nogil=True)(add_errors)
    return compiled
