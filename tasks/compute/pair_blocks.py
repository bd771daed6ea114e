"""One block of image pairs, computed on a worker and written into its slab."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from anoclust_core.memory import CACHED_BYTES
from anoclust_core.pairwise import cpu
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
    device = pair_device.choose_worker_device(block.device)
    bags = _bags.read(block.embeddings, block.rows)
    folder, r, c = block.forward
    if block.rows == block.columns:
        if block.with_means:
            within, means = cpu.nearest_and_mean_distances_within(bags)
            arrays.write_block(folder, MEANS, (r, c), means)
        else:
            within = pair_device.nearest_distances_within(bags, device=device)
        arrays.write_block(folder, DISTANCES, (r, c, 0), within)
        return block.n_products
    others = _bags.read(block.embeddings, block.columns)
    if block.backward is None:
        arrays.write_block(folder, DISTANCES, (r, c, 0), pair_device.nearest_distances(bags, others, device=device))
        return block.n_products
    back_folder, back_r, back_c = block.backward
    if block.with_means:
        found = cpu.mutual_nearest_and_mean_distances(bags, others)
        forward, backward = found.forward, found.backward
        arrays.write_block(folder, MEANS, (r, c), found.mean)
        arrays.write_block(back_folder, MEANS, (back_r, back_c), found.mean.T)
    else:
        forward, backward = pair_device.mutual_nearest_distances(bags, others, device=device)
    arrays.write_block(folder, DISTANCES, (r, c, 0), forward)
    arrays.write_block(back_folder, DISTANCES, (back_r, back_c, 0), backward)
    return block.n_products


class _BagCache:
    """The bags of the blocks that this process read last; segments never change, so neither do they.

    Every group of bags is part of many blocks. Reading it again for each is what this saves.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, tuple[str, ...]], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def read(self, embeddings: Path, hashes: tuple[str, ...]) -> NDArray[np.float32]:
        key = (embeddings, hashes)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        bags = EmbeddingSegments(embeddings).read(hashes)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = bags
                self._bytes += bags.nbytes
            while self._bytes > CACHED_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return bags


_bags = _BagCache()
