"""Feature correspondence analysis as the paper tells it, by sorting: what the fast one is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def gaussian(size: int, sigma: float) -> Tensor:
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    return torch.outer(window, window) / window.sum() ** 2


def usual_values(features: Tensor, tile: int) -> Tensor:
    """Median over windows side by side of each rank, ``(dim, tile ** 2)``, the lower middle of an even number."""
    windows = features.unfold(1, tile, tile).unfold(2, tile, tile).reshape(len(features), -1, tile * tile)
    return windows.sort(dim=2).values.sort(dim=1).values[:, (windows.shape[1] - 1) // 2]


def errors_by_one_sort(windows: Tensor, usual: Tensor) -> Tensor:
    """Errors ``(windows, tile ** 2)``: sort once, stably, and scatter the errors to where the values came from."""
    values, order = windows.sort(dim=2, stable=True)
    errors = (values - usual[:, None]).abs_()
    return torch.empty_like(errors).scatter_(2, order, errors).mean(dim=0)


def errors_by_two_sorts(windows: Tensor, usual: Tensor) -> Tensor:
    """The same errors from ranks, by sorting the order of a stable sort."""
    ranks = windows.sort(dim=2, stable=True).indices.sort(dim=2).indices
    looked_up = usual.gather(1, ranks.reshape(len(usual), -1)).reshape(ranks.shape)
    return (windows - looked_up).abs_().mean(dim=0)


def map_by_sorting(
    features: NDArray[Any],
    *,
    tile: int = 7,
    sigma_p: float = 3.0,
    sigma_s: float = 1.0,
    two_sorts: bool = False,
    dtype: torch.dtype = torch.float64,
) -> NDArray[Any]:
    """Every window unfolded, sorted, scored, blurred and added back, one after the other."""
    values = torch.from_numpy(np.asarray(features)).to(dtype)
    dim, height, width = values.shape
    reach = tile // 2
    padded = functional.pad(values[None], (reach,) * 4, mode="reflect")
    windows = padded[0].unfold(1, tile, 1).unfold(2, tile, 1).reshape(dim, height * width, tile * tile)
    errors = (errors_by_two_sorts if two_sorts else errors_by_one_sort)(windows, usual_values(values, tile))
    patches = errors.reshape(-1, 1, tile, tile)
    blurred = functional.conv2d(
        functional.pad(patches, (2,) * 4, mode="reflect"), gaussian(5, sigma_s).to(dtype)[None, None]
    )
    weighted = (blurred * gaussian(tile, sigma_p).to(dtype)).reshape(height * width, -1).T
    added = functional.fold(weighted[None], (height + tile - 1, width + tile - 1), tile)[0, 0]
    return added[reach : reach + height, reach : reach + width].numpy()
