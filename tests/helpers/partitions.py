"""Descriptors, distances and partitions that the tests of clustering share."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

quick = settings(max_examples=25, deadline=None, database=None)
quicker = settings(max_examples=10, deadline=None, database=None)

# Real-valued draws have no ties; a small integer grid is full of ties and duplicates.
untied = st.builds(
    lambda seed, n: np.random.default_rng(seed).normal(size=(n, 3)), st.integers(0, 2**32 - 1), st.integers(3, 12)
)
tied = st.integers(2, 12).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 2).map(float)))

# Symmetric, but far from the triangle inequality, as Hausdorff distances may be.
untied_distances = st.builds(
    lambda seed, n: symmetric(np.random.default_rng(seed).uniform(0.1, 3, size=(n, n))),
    st.integers(0, 2**32 - 1),
    st.integers(3, 12),
)
tied_distances = st.integers(2, 9).flatmap(
    lambda n: arrays(np.float64, (n, n), elements=st.integers(0, 3).map(float)).map(symmetric)
)

BAD_DESCRIPTORS = [
    np.zeros(4),
    np.zeros((1, 3)),
    np.zeros((0, 3)),
    np.zeros((3, 0)),
    np.array([[0.0], [np.nan]]),
    np.array([[0.0], [np.inf]]),
    np.array([[1e200], [-1e200]]),
]

BAD_DISTANCES = [
    np.zeros(4),
    np.zeros((1, 1)),
    np.zeros((0, 0)),
    np.zeros((2, 3)),
    np.array([[0.0, np.nan], [np.nan, 0.0]]),
    np.array([[0.0, np.inf], [np.inf, 0.0]]),
    np.array([[0.0, -1.0], [-1.0, 0.0]]),
    np.array([[0.0, 1.0], [2.0, 0.0]]),
    np.array([[0.5, 1.0], [1.0, 0.0]]),
    np.array([[0.0, 1e200], [1e200, 0.0]]),
]


def symmetric(values: NDArray[np.float64]) -> NDArray[np.float64]:
    upper = np.triu(values, 1)
    return upper + upper.T


def groups(labels: NDArray[np.integer]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def is_canonical(labels: NDArray[np.int64]) -> bool:
    """Whether clusters are numbered without gaps by decreasing size, ties by the first image."""
    numbers = labels.tolist()
    ranks = [(-numbers.count(number), numbers.index(number)) for number in sorted(set(numbers))]
    return labels.dtype == np.int64 and set(numbers) == set(range(len(ranks))) and ranks == sorted(ranks)


def blobs(*sizes: int, dim: int = 4) -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    return np.concatenate([10 * np.eye(dim)[i] + 0.1 * rng.normal(size=(size, dim)) for i, size in enumerate(sizes)])
