r"""The tile kernel of `pairwise` on a torch device: half precision finds the nearest patches, single measures them.

One half-precision product of a few images with a few others is written to the device's memory, and the largest values
of its rows and columns are taken from it there: both directions from one product. Where half precision cannot tell
which patch is nearest, every patch that may be is measured in single precision, so that the result is exact.

**Why it is exact.** A value :math:`\hat g` of the product and the true :math:`g = a \cdot b` differ by at most

.. math:: e = r_a + r_b + 2^{-22} D + 2^{-11} + 2 \cdot 10^{-6}

with :math:`r` the largest norm of what any patch of a side loses by rounding to half precision (Cauchy and Schwarz;
measured, about 2e-4), :math:`2^{-22} D` for summing :math:`D` products in single precision, as tensor cores do, which
cut digits off instead of rounding, :math:`2^{-11}` for rounding a result of at most 1 to half precision, and the rest
for norms that are 1 up to 1e-6. So the nearest patch has a value of at least the row's largest minus :math:`2e`. All
that do are candidates; each candidate's :math:`\| a - b \|` is computed from the difference in single precision, where
nothing cancels, and the least counts. Image pairs with many candidates, as where both share a flat background, are
multiplied once more in double precision instead. No product in single precision is made: TF32 does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anoclust_core.bags import check_bags
from anoclust_core.errors import ResourceError
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.pairwise.cpu import DOUBLE_PRODUCT_VALUES, ZERO_BELOW, check_pair

TILE_VALUES: Final = 1 << 26
"""Values of a product at a time: 128 MiB, 64 pairs of images with 1,024 patches. Not tuned on any GPU yet."""

CANDIDATES_A_PATCH: Final = 8
"""Candidates that are measured one by one, a patch of an image pair on average; with more of them one product in double
precision is less work than fetching their features."""

MEASURED_VALUES: Final = 1 << 24
"""Features of candidates that are fetched at a time: 64 MiB a side."""

FREE_SHARE: Final = 0.5
"""Part of the device's free memory that is planned with: other processes use the device too."""

GROUPS_WITHIN: Final = 4
"""Groups that the images of one bag array are cut into at least, so that few pairs are computed in both orders."""

_BYTES_A_VALUE: Final = 5
"""Of a product: the value, its mask, and two more masks while it is made."""

_BYTES_A_CANDIDATE: Final = 64
"""Four indices, and as much while they are found."""

_BYTES_A_FEATURE: Final = 10
"""Of a bag: in single and half precision, and the difference between the two."""


def mutual_nearest_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], *, device: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`cpu.mutual_nearest_distances` on a torch device; the two differ by less than 2e-5.

    Parameters
    ----------
    bags, others
        Shapes ``(n_bags, n_patches, dim)`` and ``(n_others, n_other_patches, dim)``, unit L2 norm per patch.
    device
        As torch names it; all bags and distances must fit into its memory.

    Returns
    -------
    forward, backward
        Shapes ``(n_bags, n_others, n_patches)`` and ``(n_others, n_bags, n_other_patches)``, float32, in [0, 2].

    Raises
    ------
    ArrayContractError
        As `cpu.mutual_nearest_distances`.
    ResourceError
        If the device has too little free memory for one pair of images at a time.
    """
    left, right = check_pair(bags, others)
    with _summed_in_single():
        groups = _Groups.on(torch.device(device), left, right)
        forward = groups.left.bags.new_empty(len(left), len(right), left.shape[1])
        backward = groups.left.bags.new_empty(len(right), len(left), right.shape[1])
        for rows, columns in groups.tiles():
            measured = groups.measure(rows, columns, axes=_BOTH_WAYS)
            forward[rows, columns], backward[columns, rows] = measured.forward(), measured.backward()
        return forward.cpu().numpy(), backward.cpu().numpy()


def nearest_distances_within(bags: NDArray[np.floating[Any]], *, device: str) -> NDArray[np.float32]:
    """`cpu.nearest_distances_within` on a torch device; the two differ by less than 2e-5.

    Parameters
    ----------
    bags, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_bags, n_patches)``, float32, in [0, 2]; 0 from a bag to itself.

    Raises
    ------
    ArrayContractError
        As `cpu.nearest_distances_within`.
    ResourceError
        As `mutual_nearest_distances`.
    """
    checked = check_bags(bags)
    n_bags, n_patches, _ = checked.shape
    with _summed_in_single():
        groups = _Groups.on(torch.device(device), checked, checked)
        distances = groups.left.bags.new_empty(n_bags, n_bags, n_patches)
        for rows, columns in groups.tiles(rows_at_most=-(-n_bags // GROUPS_WITHIN), above_diagonal=True):
            measured = groups.measure(rows, columns, axes=_BOTH_WAYS)
            distances[rows, columns], distances[columns, rows] = measured.forward(), measured.backward()
        distances.diagonal().zero_()
        return distances.cpu().numpy()


def nearest_distances(
    bags: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]], *, device: str
) -> NDArray[np.float32]:
    """`cpu.nearest_distances` on a torch device; the two differ by less than 2e-5.

    Parameters
    ----------
    bags, references, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_references, n_patches)``, float32, in [0, 2], in the main memory as all results here.

    Raises
    ------
    ArrayContractError, ResourceError
        As `mutual_nearest_distances`.
    """
    left, right = check_pair(bags, references)
    with _summed_in_single():
        groups = _Groups.on(torch.device(device), left, right)
        distances = groups.left.bags.new_empty(len(left), len(right), left.shape[1])
        for rows, columns in groups.tiles():
            distances[rows, columns] = groups.measure(rows, columns, axes=_FORWARD).forward()
        return distances.cpu().numpy()


_FORWARD: Final = (3,)
_BOTH_WAYS: Final = (3, 1)
"""Axes of a product ``(n_bags, n_patches, n_others, n_other_patches)`` along which the nearest patch is looked for."""


@contextmanager
def _summed_in_single() -> Iterator[None]:
    """Keep parts of a half-precision product in single precision until they are added up; no gradients."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_reduced_precision_reduction
    matmul.allow_fp16_reduced_precision_reduction = False
    try:
        with torch.inference_mode():
            yield
    finally:
        matmul.allow_fp16_reduced_precision_reduction = before


@dataclass(frozen=True)
class _Side:
    """One group of bags on a device.

    Attributes
    ----------
    bags, halves
        Shape ``(n_bags, n_patches, dim)``, float32 and float16.
    rounding
        Largest norm of what a patch loses in half precision.
    """

    bags: Tensor
    halves: Tensor
    rounding: float

    @classmethod
    def on(cls, device: torch.device, bags: NDArray[np.float32]) -> _Side:
        on_device = torch.tensor(bags, device=device)
        halves = on_device.half()
        lost = torch.linalg.vector_norm(halves - on_device, dim=2)
        return cls(on_device, halves, float(lost.max()) if len(bags) else 0.0)

    def __getitem__(self, part: slice) -> _Side:
        return _Side(self.bags[part], self.halves[part], self.rounding)


@dataclass(frozen=True)
class _Groups:
    """Two groups of bags on a device, and how many of each make a tile."""

    left: _Side
    right: _Side
    tile: tuple[int, int]

    @classmethod
    def on(cls, device: torch.device, bags: NDArray[np.float32], others: NDArray[np.float32]) -> _Groups:
        tile = _plan_tile(bags.shape, others.shape, free=_free_bytes(device))
        left = _Side.on(device, bags)
        return cls(left, left if others is bags else _Side.on(device, others), tile)

    def tiles(self, *, rows_at_most: int | None = None, above_diagonal: bool = False) -> Iterator[tuple[slice, slice]]:
        """Parts of both groups that are multiplied at a time, all or those on and above the diagonal."""
        n_rows, n_columns = len(self.left.bags), len(self.right.bags)
        height = min(self.tile[0], rows_at_most or self.tile[0])
        for row in range(0, n_rows, height):
            for column in range(row if above_diagonal else 0, n_columns, self.tile[1]):
                yield slice(row, row + height), slice(column, column + self.tile[1])

    def measure(self, rows: slice, columns: slice, *, axes: tuple[int, ...]) -> _Measured:
        """Multiply a part of each group in half precision, and measure what may be nearest along the axes."""
        left, right = self.left[rows], self.right[columns]
        dim = left.bags.shape[2]
        product = torch.mm(left.halves.reshape(-1, dim), right.halves.reshape(-1, dim).T)
        product = product.view(*left.bags.shape[:2], *right.bags.shape[:2])
        slack = 2 * _product_error(left, right)
        return _measure(left.bags, right.bags, _may_be_nearest(product, slack, axes))


def _product_error(left: _Side, right: _Side) -> float:
    """Bound of a half-precision product's error, see above; a hundredth more for norms and sums that are not exact."""
    dim = left.bags.shape[2]
    return 1.01 * (left.rounding + right.rounding + dim * 2.0**-22 + 2.0**-11) + 2e-6


def _may_be_nearest(product: Tensor, slack: float, axes: tuple[int, ...]) -> Tensor:
    """Mask of the product: what is within ``slack`` of the largest value along any of the axes."""
    # rounded to half precision a bound lets through no less: the product has no value between the two
    bounds = [(product.amax(axis, keepdim=True).float() - slack).half() for axis in axes]
    mask = product >= bounds[0]
    for bound in bounds[1:]:
        mask |= product >= bound
    return mask


@dataclass(frozen=True)
class _Measured:
    """Distances of the candidates of a tile.

    Attributes
    ----------
    shape
        ``(n_bags, n_patches, n_others, n_other_patches)``.
    at
        Indices of each candidate into these four.
    distances
        Of each candidate, float32.
    crowded
        By image pair with too many candidates: nearest distances of all its patches there and back.
    """

    shape: torch.Size
    at: tuple[Tensor, ...]
    distances: Tensor
    crowded: dict[tuple[int, int], tuple[Tensor, Tensor]]

    def forward(self) -> Tensor:
        """Nearest distances ``(n_bags, n_others, n_patches)``."""
        n_bags, n_patches, n_others, _ = self.shape
        bag, patch, other, _ = self.at
        nearest = self._least((bag * n_others + other) * n_patches + patch, n_bags, n_others, n_patches)
        for (i, j), (there, _) in self.crowded.items():
            nearest[i, j] = there
        return nearest

    def backward(self) -> Tensor:
        """Nearest distances ``(n_others, n_bags, n_other_patches)``; worthless if looked for along rows only."""
        return self._turned().forward()

    def _turned(self) -> _Measured:
        """The same seen from the other group."""
        crowded = {(j, i): (back, there) for (i, j), (there, back) in self.crowded.items()}
        return _Measured(self.shape[2:] + self.shape[:2], self.at[2:] + self.at[:2], self.distances, crowded)

    def _least(self, position: Tensor, *shape: int) -> Tensor:
        least = self.distances.new_full(shape, torch.inf)
        least.view(-1).scatter_reduce_(0, position, self.distances, "amin")
        return least


def _measure(bags: Tensor, others: Tensor, mask: Tensor) -> _Measured:
    """Measure the candidates of a mask one by one, or all patches of a pair of images where there are many."""
    _, n_patches, _, n_other_patches = mask.shape
    crowded = (mask.sum(dim=(1, 3)) > CANDIDATES_A_PATCH * (n_patches + n_other_patches)).nonzero().tolist()
    for i, j in crowded:
        mask[i, :, j] = False
    at = mask.nonzero(as_tuple=True)
    bag, patch, other, other_patch = at
    distances = bags.new_empty(len(bag))
    step = max(1, MEASURED_VALUES // bags.shape[2])
    for start in range(0, len(bag), step):
        part = slice(start, start + step)
        difference = bags[bag[part], patch[part]].sub_(others[other[part], other_patch[part]])
        distances[part] = torch.linalg.vector_norm(difference, dim=1)
    distances[distances < ZERO_BELOW**0.5] = 0
    return _Measured(mask.shape, at, distances, {(i, j): _measure_in_double(bags[i], others[j]) for i, j in crowded})


def _measure_in_double(patches: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest distances of all patches of two images there and back, a few rows of their product at a time."""
    right = others.double()
    right_norms = right.square().sum(1)
    step = max(1, DOUBLE_PRODUCT_VALUES // len(others))
    rows, columns = [], torch.full_like(right_norms, torch.inf)
    for part in torch.split(patches, step):
        left = part.double()
        squared = torch.addmm(right_norms, left, right.T, alpha=-2).add_(left.square().sum(1, keepdim=True))
        rows.append(squared.amin(1))
        columns = torch.minimum(columns, squared.amin(0))
    there, back = (torch.where(least < ZERO_BELOW, 0, least).sqrt().float() for least in (torch.cat(rows), columns))
    return there, back


def _free_bytes(device: torch.device) -> int | None:
    """Bytes of the device that this process may still take; None where it computes in the main memory."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _plan_tile(bags: tuple[int, ...], others: tuple[int, ...], *, free: int | None) -> tuple[int, int]:
    """Images of each side in a tile, for two shapes of bags: as many as `TILE_VALUES` and the free memory allow."""
    (n_bags, n_patches, dim), (n_others, n_other_patches, _) = bags, others
    values, candidates = n_patches * n_other_patches, CANDIDATES_A_PATCH * (n_patches + n_other_patches)
    pairs = max(1, TILE_VALUES // values)
    if free is not None:
        features = dim * (n_bags * n_patches + n_others * n_other_patches)
        distances = 2 * n_bags * n_others * (n_patches + n_other_patches)
        measuring = 8 * MEASURED_VALUES + 8 * (2 * DOUBLE_PRODUCT_VALUES + dim * (n_patches + n_other_patches))
        always = _BYTES_A_FEATURE * features + 4 * distances + measuring
        pair = _BYTES_A_VALUE * values + _BYTES_A_CANDIDATE * min(values, candidates)
        usable = int(FREE_SHARE * free)
        if always + pair > usable:
            raise ResourceError(
                f"comparing {n_bags} with {n_others} images needs {readable_bytes(always + pair)} on the GPU; of "
                f"{readable_bytes(free)} that are free, {readable_bytes(usable)} may be used; stop other programs on "
                "the GPU, lower --image-size, or use --device cpu"
            )
        pairs = min(pairs, (usable - always) // pair)
    columns = max(1, min(n_others, isqrt(pairs)))
    rows = max(1, min(n_bags, pairs // columns))
    return rows, max(1, min(n_others, pairs // rows))
