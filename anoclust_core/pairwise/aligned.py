r"""Nearest-patch distances where cameras are fixed: a patch is compared only with patches near its own place.

Patch :math:`(y, x)` of one image is compared with patches :math:`(y + \delta_y, x + \delta_x)` of the other one,
:math:`|\delta_y|, |\delta_x| \le w`, on the grid of the whole frame. Frames of a thousand tiles' worth of patches are
compared in linear time so: every patch with every patch takes the square of their number.

Row by row of the grid, the patches of all images at a place are multiplied with those of all other images in the
window around it: one batch of small products for a row and each row of the window. A patch has one feature more there,
:math:`(-2a, 1) \cdot (b, 2) = 2 - 2 a \cdot b = \| a - b \|^2`, and infinity in place of the 2 where the window reaches
over the edge: a product is a squared distance at once. One product serves both directions, since the window is
symmetric. Places with squared distances below `cpu.RESCORE_BELOW` are multiplied again in double precision, as `cpu`
does. The same code runs on a CPU and on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anoclust_core.bags import check_bags
from anoclust_core.errors import ArrayContractError
from anoclust_core.pairwise.cpu import RESCORE_BELOW, ZERO_BELOW, MutualDistances, check_pair
from anoclust_core.records import Window


def mutual_nearest_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], *, window: Window, device: str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Nearest-patch distances between two groups of aligned images, both directions from one product per pair.

    .. math:: d_{ijm} = \min_{n \in W(m)} \| z^i_m - z^j_n \|

    the inner minimum of [SOHN23] eq. (3) and (5), over the window :math:`W(m)` around the place of patch :math:`m`
    only. Where the window covers the whole grid it is that of `cpu.mutual_nearest_distances` but for rounding.

    Parameters
    ----------
    bags, others
        Shapes ``(n_bags, n_patches, dim)`` and ``(n_others, n_patches, dim)``, unit L2 norm per patch, patches row by
        row over the window's grid.
    window
        Grid of the frame, and how far a patch is looked for on it.
    device
        As torch names it.

    Returns
    -------
    forward
        Shape ``(n_bags, n_others, n_patches)``, float32, in [0, 2]: from each patch of ``bags`` to ``others``.
    backward
        Shape ``(n_others, n_bags, n_patches)``, float32: from each patch of ``others`` to ``bags``.

    Raises
    ------
    ArrayContractError
        As `cpu.check_pair`, or if the patches are not those of the grid.
    """
    found = _compare(*_checked(bags, others, window), window, device, both_ways=True)
    return found.forward, found.backward


def nearest_distances(
    bags: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]], *, window: Window, device: str = "cpu"
) -> NDArray[np.float32]:
    """Nearest-patch distances from one group of aligned images to another, one direction only.

    Parameters
    ----------
    bags, references, window, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_references, n_patches)``, float32, in [0, 2].

    Raises
    ------
    ArrayContractError
        As `mutual_nearest_distances`.
    """
    return _compare(*_checked(bags, references, window), window, device).forward


def nearest_distances_within(
    bags: NDArray[np.floating[Any]], *, window: Window, device: str = "cpu"
) -> NDArray[np.float32]:
    """Nearest-patch distances between all aligned images of one group.

    Parameters
    ----------
    bags, window, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_bags, n_patches)``, float32, in [0, 2]; 0 from an image to itself.

    Raises
    ------
    ArrayContractError
        As `mutual_nearest_distances`.
    """
    checked = _of_grid(check_bags(bags), window, "bags")
    return _compare(checked, checked, window, device).forward


def mutual_nearest_and_mean_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], *, window: Window, device: str = "cpu"
) -> MutualDistances:
    r"""Nearest-patch distances both ways, and the mean distance of each image pair over all windows.

    .. math:: \bar d_{ij} = \frac{1}{\sum_m |W(m)|} \sum_m \sum_{n \in W(m)} \| z^i_m - z^j_n \|

    the first distance of [SOHN23] appendix C, over the patches that are compared.

    Parameters
    ----------
    bags, others, window, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        As `cpu.mutual_nearest_and_mean_distances` gives them.

    Raises
    ------
    ArrayContractError
        As `mutual_nearest_distances`.
    """
    return _compare(*_checked(bags, others, window), window, device, both_ways=True, with_means=True)


def nearest_and_mean_distances_within(
    bags: NDArray[np.floating[Any]], *, window: Window, device: str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Nearest-patch distances and mean distances between all aligned images of one group.

    Parameters
    ----------
    bags, window, device
        As in `mutual_nearest_distances`.

    Returns
    -------
    distances
        Shape ``(n_bags, n_bags, n_patches)``, float32: as in `nearest_distances_within`.
    mean
        Shape ``(n_bags, n_bags)``, float64, in [0, 2], symmetric, 0 on the diagonal: as in
        `mutual_nearest_and_mean_distances`.

    Raises
    ------
    ArrayContractError
        As `mutual_nearest_distances`.
    """
    checked = _of_grid(check_bags(bags), window, "bags")
    found = _compare(checked, checked, window, device, with_means=True)
    above = np.triu(found.mean, k=1)
    return found.forward, above + above.T


def _checked(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    left, right = check_pair(bags, others)
    return _of_grid(left, window, "bags"), _of_grid(right, window, "others")


def _of_grid(bags: NDArray[np.float32], window: Window, name: str) -> NDArray[np.float32]:
    height, width = window.grid
    if bags.shape[1] != height * width:
        raise ArrayContractError(
            f"expected {name} with a patch for each place of a grid of {height} x {width}, {height * width:,} a bag; "
            f"found {bags.shape[1]:,}"
        )
    return bags


def _compare(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    window: Window,
    device: str,
    *,
    both_ways: bool = False,
    with_means: bool = False,
) -> MutualDistances:
    """Distances there and, where they are wanted, back and on average; empty where not. Assumes checked input.

    Images of one array have distance 0 to themselves.
    """
    with _in_single_precision():
        search = _Search.on(torch.device(device), left, right, window, both_ways=both_ways, with_means=with_means)
        for row in range(window.grid[0]):
            search.compare(row)
        forward = _as_distances(search.forward)
        if search.is_within:
            forward[np.arange(len(left)), np.arange(len(left))] = 0
        backward = _as_distances(search.backward[:, search.across : search.across + window.grid[1]].transpose(2, 3))
        return MutualDistances(forward, backward, search.sums.cpu().numpy() / window.n_compared)


@contextmanager
def _in_single_precision() -> Iterator[None]:
    """Keep TF32 out of products, whatever the process allows; no gradients."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        matmul.allow_tf32 = before


@dataclass
class _Search:
    """Two groups of bags, and the least squared distances that have been found so far.

    Attributes
    ----------
    left, right
        Shape ``(n_bags, height, width, dim)``.
    down, across
        How far a patch is looked for, no farther than the grid.
    forward
        Shape ``(height, width, n_bags, n_others)``.
    backward
        Shape ``(height, width + 2 across, n_bags, n_others)``: with the places over the edge; no rows where it is not
        wanted.
    sums
        Shape ``(n_bags, n_others)``, float64, of all distances; stays 0 where it is not wanted.
    is_within
        Whether both groups are the same images: then none is compared with itself.
    packed
        Rows of ``right`` that are in reach of the one that is compared, see `_packed_row`.
    """

    left: Tensor
    right: Tensor
    down: int
    across: int
    forward: Tensor
    backward: Tensor
    sums: Tensor
    with_means: bool
    is_within: bool
    packed: dict[int, Tensor]

    @classmethod
    def on(
        cls,
        device: torch.device,
        left: NDArray[np.float32],
        right: NDArray[np.float32],
        window: Window,
        *,
        both_ways: bool,
        with_means: bool,
    ) -> _Search:
        height, width = window.grid
        down, across = window.reach
        sides = [
            torch.from_numpy(np.require(side, requirements="W"))
            .to(device)
            .view(len(side), height, width, side.shape[2])
            for side in (left, right)
        ]
        pairs = len(left), len(right)
        return cls(
            left=sides[0],
            right=sides[1],
            down=down,
            across=across,
            forward=torch.full((height, width, *pairs), torch.inf, device=device),
            backward=torch.full((height * both_ways, width + 2 * across, *pairs), torch.inf, device=device),
            sums=torch.zeros(pairs, dtype=torch.float64, device=device),
            with_means=with_means,
            is_within=left is right,
            packed={},
        )

    def compare(self, row: int) -> None:
        """Compare a row of ``left`` with the rows of its window; rows are asked for one after the other."""
        height, width, _, n_others = self.forward.shape
        wide = 2 * self.across + 1
        bags = self._lengthened(self.left[:, row], -2, 1)
        self.packed.pop(row - self.down - 1, None)
        for other_row in range(max(0, row - self.down), min(height, row + self.down + 1)):
            if other_row not in self.packed:
                self.packed[other_row] = self._packed_row(other_row)
            others = self.packed[other_row]
            # windows overlap: the next place's is the same memory, one place on
            step = others.stride(0)
            windows = others.as_strided((width, wide * n_others, bags.shape[2]), (step, others.stride(1), 1))
            squares, nearest = self._squares(bags, windows)
            torch.minimum(self.forward[row], nearest, out=self.forward[row])
            if len(self.backward):
                for offset in range(wide):
                    reached = self.backward[other_row, offset : offset + width]
                    torch.minimum(reached, squares[:, :, offset], out=reached)
            if self.with_means:
                is_there = torch.isfinite(squares)
                self.sums += torch.where(is_there, squares, 0).clamp_(min=0).sqrt_().sum((0, 2), dtype=torch.float64)

    def _squares(self, bags: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances of a row to its windows, ``(width, n_bags, wide, n_others)``, and the least of each one."""
        squares = self._by_image(torch.bmm(bags, windows.transpose(1, 2)))
        nearest = squares.amin(2)
        close = (nearest < RESCORE_BELOW).flatten(1).any(1).nonzero().squeeze(1)
        if len(close):
            left, right = bags[close].double().div_(-2), windows[close].double()
            beyond = right[:, :, -1] - 2  # 0, or infinity over the edge
            left[:, :, -1] = right[:, :, -1] = 0
            again = torch.bmm(left, right.transpose(1, 2)).mul_(-2)
            again += left.square().sum(2)[:, :, None] + (right.square().sum(2) + beyond)[:, None, :]
            squares[close] = self._by_image(again.float())
            nearest[close] = squares[close].amin(2)
        return squares, nearest

    def _by_image(self, squares: Tensor) -> Tensor:
        """Products by place of the window and image; those of an image with itself count for nothing."""
        width, n_bags, _ = squares.shape
        squares = squares.view(width, n_bags, 2 * self.across + 1, len(self.right))
        if self.is_within:
            squares.diagonal(dim1=1, dim2=3).fill_(torch.inf)
        return squares

    def _packed_row(self, row: int) -> Tensor:
        """Shape ``(width + 2 across, n_others, dim + 1)``: a row of ``right`` with places over the edge."""
        patches = self._lengthened(self.right[:, row], 1, 2)
        width, n_others, dim = patches.shape
        packed = patches.new_zeros(width + 2 * self.across, n_others, dim)
        packed[:, :, -1] = torch.inf
        packed[self.across : self.across + width] = patches
        return packed

    @staticmethod
    def _lengthened(patches: Tensor, times: float, last: float) -> Tensor:
        """Patches of one row ``(n, width, dim)`` as ``(width, n, dim + 1)``: multiplied, and with one feature more."""
        n, width, dim = patches.shape
        longer = patches.new_empty(width, n, dim + 1)
        torch.mul(patches.transpose(0, 1), times, out=longer[:, :, :dim])
        longer[:, :, -1] = last
        return longer


def _as_distances(squares: Tensor) -> NDArray[np.float32]:
    """Distances ``(n, n_others, n_patches)`` from least squares ``(height, width, n, n_others)``."""
    squares = torch.where(squares < ZERO_BELOW, 0, squares).clamp_(max=4).sqrt_()
    found: NDArray[np.float32] = squares.permute(2, 3, 0, 1).flatten(2).contiguous().cpu().numpy()
    return found
