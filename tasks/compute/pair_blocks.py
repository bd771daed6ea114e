"""One block of image pairs, computed on a worker and written into its slab."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from anoclust_core.memory.plan import CACHED_BYTES
from tasks.compute import pair_device
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import DISTANCES, MEANS, Block


def compute_block(block: Block) -> int:
    """Read the bags of a block, compute their distances, write them; runs on a Dask worker.

    Returns
    -------
    n_products
        Matrix products computed.
    """
    device, window = pair_device.choose_worker_device(block.device), block.window
    bags = _counting(block, block.rows)
    folder, r, c = block.forward
    if block.covers is not None:
        forward = pair_device.nearest_distances(bags, _bags(block.covers, block.columns), device=device)
        is_same = np.array([[row == column for column in block.columns] for row in block.rows], np.bool_)
        forward[is_same] = 0  # whatever the cover leaves out of an image, it is its own
        arrays.write_block(folder, DISTANCES, (r, c, 0), forward)
        return block.n_products
    if block.rows == block.columns:
        if block.with_means:
            within, means = pair_device.nearest_and_mean_distances_within(bags, device=device, window=window)
            arrays.write_block(folder, MEANS, (r, c), means)
        else:
            within = pair_device.nearest_distances_within(bags, device=device, window=window)
        arrays.write_block(folder, DISTANCES, (r, c, 0), within)
        return block.n_products
    others = _counting(block, block.columns)
    if block.backward is None:
        forward = pair_device.nearest_distances(bags, others, device=device, window=window)
        arrays.write_block(folder, DISTANCES, (r, c, 0), forward)
        return block.n_products
    back_folder, back_r, back_c = block.backward
    if block.with_means:
        found = pair_device.mutual_nearest_and_mean_distances(bags, others, device=device, window=window)
        forward, backward = found.forward, found.backward
        arrays.write_block(folder, MEANS, (r, c), found.mean)
        arrays.write_block(back_folder, MEANS, (back_r, back_c), found.mean.T)
    else:
        forward, backward = pair_device.mutual_nearest_distances(bags, others, device=device, window=window)
    arrays.write_block(folder, DISTANCES, (r, c, 0), forward)
    arrays.write_block(back_folder, DISTANCES, (back_r, back_c, 0), backward)
    return block.n_products


def _counting(block: Block, hashes: tuple[str, ...]) -> NDArray[np.float32]:
    """Bags of images of a block in which every patch counts: for one outside of a region stands one inside."""
    bags = _bags(block.embeddings, hashes)
    return bags if block.regions is None else block.regions.filled(bags, hashes)


@cached(LRUCache[Any, NDArray[np.float32]](CACHED_BYTES, getsizeof=lambda bags: bags.nbytes), lock=Lock())
def _bags(embeddings: Path, hashes: tuple[str, ...]) -> NDArray[np.float32]:
    """Bags of a block, those that this process read last from memory: segments never change, so neither do they."""
    return EmbeddingSegments(embeddings).read(hashes)
