"""A training step of the projection head on 512 x 64 x 64 features: drawn cells against every cell, one thread each."""

from __future__ import annotations

import sys

import numpy as np
import torch

from anoclust_core.localization.cells import scale_channels
from anoclust_core.localization.contrastive import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    ProjectionHead,
    pair_loss,
    ranges_of_images,
    step_loss,
)
from anoclust_core.localization.relations import AnomalousCells, draw_cells
from benchmarks.timing import in_turns, tell

N_IMAGES, DIM, SIDE = 9, 512, 64


def main() -> None:
    """Print the seconds of a step, drawing and optimiser included, with an image, 3 neighbours and 5 counterparts."""
    random = np.random.default_rng(0)
    features = random.random((N_IMAGES, DIM, SIDE, SIDE), dtype=np.float32)
    cells = AnomalousCells.of(random.random((N_IMAGES, SIDE * SIDE)) < 0.02)
    ranges = ranges_of_images(features)
    head = ProjectionHead(DIM, 256, DIM, random=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)

    def step(*, every_cell: bool) -> None:
        draw = draw_cells(0, neighbours=np.arange(1, 4), counterparts=np.arange(4, 9), cells=cells, generator=random)
        if draw is None:
            raise RuntimeError("the first image needs anomalous cells")
        if every_cell:
            tables = [torch.from_numpy(scale_channels(one).reshape(DIM, -1).T.copy()) for one in features]
            projected = torch.cat([head(table) for table in tables])
            own, normal, near, near_normal, far = (
                projected[torch.from_numpy(part.images * SIDE * SIDE + part.places)] for part in draw.parts
            )
            loss = pair_loss((own, normal, near, near_normal, far))
        else:
            loss = step_loss(head, features, draw, ranges)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    sys.stdout.write(f"a step on {N_IMAGES} images of {DIM} x {SIDE} x {SIDE}, one thread; ratio to drawn cells\n")
    ways = {"drawn cells": lambda: step(every_cell=False), "every cell": lambda: step(every_cell=True)}
    tell(in_turns(ways, times={"drawn cells": 20}), against="drawn cells")


if __name__ == "__main__":
    main()
