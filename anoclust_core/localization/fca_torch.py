"""Feature correspondence analysis on a torch device: the comparisons and boxes of `fca`, a whole map at a time."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from anoclust_core.arrays import checked_tensor
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.fca import SIGMA_P, SIGMA_S, TILE, patch_matrix

_COUNTS_BYTES: Final = 1 << 28
"""Memory for the counts of smaller neighbours: all 512 channels of a 64 x 64 map at once, fewer of a larger one."""


def anomaly_map_on_device(
    features: Tensor, *, tile: int = TILE, sigma_p: float = SIGMA_P, sigma_s: float = SIGMA_S
) -> Tensor:
    """Anomaly map of one image by feature correspondence analysis, on the device where its features are.

    The definition of `fca.anomaly_map`, with the same ranks of equal values; only the rounding of sums differs.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, floating point, finite, sides of at least ``tile``.
    tile, sigma_p, sigma_s
        As in `fca.anomaly_map`.

    Returns
    -------
    anomaly_map
        Shape ``(height, width)``, float32, on the same device, >= 0, in the unit of the features.

    Raises
    ------
    ArrayContractError, ConfigError
        As `fca.anomaly_map`.
    """
    features = checked_tensor("features", features, "(dim, height, width)")
    patches = torch.from_numpy(patch_matrix(tile, sigma_p, sigma_s)).to(features.device, torch.float32)
    if features.ndim != 3 or min(features.shape[1:]) < tile or features.shape[0] == 0:
        raise ArrayContractError(
            f"a feature map must be (dim, height, width), at least {tile} cells a side; found {tuple(features.shape)}"
        )
    with torch.inference_mode():
        values = features.float()
        if not bool(torch.isfinite(values).all()):
            raise ArrayContractError("a feature map must be finite; found NaN or infinity")
        dim, height, width = values.shape
        rows, columns = height + tile - 1, width + tile - 1
        at_once = max(1, _COUNTS_BYTES // (tile * (2 * tile - 1) * rows * columns))
        errors = torch.zeros(tile * tile, rows * columns, device=values.device)
        for part in torch.split(values, at_once):
            errors += _summed_errors(part, tile)
        spread = (errors / dim).reshape(-1, rows, columns)
        windows = [spread[at, at // tile :, at % tile :][:height, :width] for at in range(tile * tile)]
        added = patches @ torch.stack(windows).reshape(tile * tile, -1)
        padded = torch.nn.functional.fold(added[None], (rows, columns), tile)[0, 0]
        reach = tile // 2
        finished = padded[reach : reach + height, reach : reach + width].contiguous()
        if not bool(torch.isfinite(finished).all()):
            raise ArrayContractError("the features are so large that their map is not finite; scale them down")
        return finished


def _usual_values(features: Tensor, tile: int) -> Tensor:
    """`fca.usual_values`: ``(dim, tile ** 2)``. The median of torch is the lower middle one."""
    windows = features.unfold(1, tile, tile).unfold(2, tile, tile)
    return windows.reshape(len(features), -1, tile * tile).sort(dim=2).values.median(dim=1).values


def _summed_errors(features: Tensor, tile: int) -> Tensor:
    """Errors summed over channels, ``(tile ** 2, padded cells)``, laid out as those of `fca`."""
    dim, span, reach = len(features), 2 * tile - 1, tile // 2
    padded = torch.nn.functional.pad(features[None], (reach, reach, reach, reach), mode="reflect")[0]
    columns = padded.shape[2]
    values = padded.reshape(dim, -1)
    n_cells = values.shape[1]
    ahead = (tile - 1) * (columns + 1)
    line = torch.nn.functional.pad(values, (ahead, ahead))

    def smaller(row: int, column: int) -> Tensor:
        """Whether the neighbour so many rows and columns away is smaller, or as large and comes first."""
        distance = row * columns + column
        others = line[:, ahead + distance : ahead + distance + n_cells]
        return ((others <= values) if distance < 0 else (others < values)).to(torch.uint8)

    in_row = torch.empty(tile, span, dim, n_cells, dtype=torch.uint8, device=features.device)
    for j in range(span):
        below = [smaller(j - tile + 1, k - tile + 1) for k in range(span)]
        total = sum(below[1:tile], start=below[0])
        for x in range(tile - 1, -1, -1):
            in_row[x, j] = total
            if x > 0:  # one place to the left: one column leaves, one comes
                total = total - below[tile - 1 - x] + below[span - x]
    usual = _usual_values(features, tile)
    errors = torch.empty(tile * tile, n_cells, device=features.device)
    for x in range(tile):
        rank = in_row[x, :tile].sum(dim=0, dtype=torch.uint8)
        for y in range(tile - 1, -1, -1):
            errors[y * tile + x] = (values - usual.gather(1, rank.long())).abs().sum(dim=0)
            if y > 0:  # one place up: one row leaves, one comes
                rank = rank - in_row[x, tile - 1 - y] + in_row[x, span - y]
    return errors
