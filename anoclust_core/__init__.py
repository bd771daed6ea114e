"""Compute: anomaly clustering on plain arrays. No engine, no file, no socket."""

from typing import Final

_MOVED: Final = {
    "distances": "anoclust_core.clustering.distances",
    "metrics": "anoclust_core.evaluation",
    "pooling": "anoclust_core.weighting.pooling",
    "protocols": "anoclust_core.evaluation.protocols",
    "ranking": "anoclust_core.evaluation.ranking",
    "rarity": "anoclust_core.weighting",
    "reference": "anoclust_core.weighting.reference",
    "weights": "anoclust_core.weighting",
}
"""Modules that programs of users may import by the name that they had in version 0.1, and where their functions are."""


def __getattr__(name: str) -> object:
    """Say where a module has gone."""
    if name in _MOVED:
        raise ImportError(f"anoclust_core.{name} has moved: import its functions from {_MOVED[name]}")
    raise AttributeError(f"module 'anoclust_core' has no attribute {name!r}")
