"""Where the paper's text and the authors' published program differ, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True)
class BlindVariant:
    """One reading of [ARDELEAN24].

    Attributes
    ----------
    name
        As on the command line.
    vae_steps
        Optimiser steps of the VAE, of 8 images each.
    latent_relu
        Whether ReLU follows the two latent heads of the VAE; it follows all its other layers in any case.
    head_width
        Features between the two layers of the projection head.
    head_out
        Features that it gives; None for as many as it is given.
    n_counterparts
        Images from the farther half that an image is set against.
    repeat_counterparts
        Whether one of them may be drawn more than once.
    loss
        ``squared``: squared distance of positive pairs, and hinge on the squared distance of negative ones, ``0.5 -
        d^2``. ``hadsell``: half the squared distance, and half the squared hinge on the distance, ``(0.5 - d)^2 / 2``.
    """

    name: str
    vae_steps: int
    latent_relu: bool
    head_width: int
    head_out: int | None
    n_counterparts: int
    repeat_counterparts: bool
    loss: Literal["squared", "hadsell"]


PROGRAM: Final = BlindVariant(
    name="program",
    vae_steps=1290,
    latent_relu=False,
    head_width=256,
    head_out=None,
    n_counterparts=5,
    repeat_counterparts=True,
    loss="squared",
)
"""The published program, which made the printed numbers."""

PAPER: Final = BlindVariant(
    name="paper",
    vae_steps=10_000,
    latent_relu=True,
    head_width=512,
    head_out=512,
    n_counterparts=3,
    repeat_counterparts=False,
    loss="hadsell",
)
"""The text of the paper, to the letter."""

VARIANTS: Final = MappingProxyType({variant.name: variant for variant in (PROGRAM, PAPER)})
