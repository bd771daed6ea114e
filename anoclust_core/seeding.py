"""Randomness: one seed per run, one named generator per stage."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, stage: str) -> np.random.Generator:
    """Random generator of one stage.

    Stages draw from streams of their own, so that a change in one never moves the draws of another.

    Parameters
    ----------
    seed
        Seed of the run, >= 0.
    stage
        Name of the stage.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(stage.encode())]))
