"""Algorithm versions: one number a stage, part of its key. Raise it when the stage's result changes for the same input.

They stand together, away from the code that they speak for, so that keys can be made without importing torch.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

ALGORITHM_VERSIONS: Final = MappingProxyType(
    {
        "embed": 1,  # embedding.py, backbones.py, bags.py, and the decoding of plain images
        "decode": 1,  # of others, deep ones for example: in the key of embeddings where a category has some
        "pair": 1,  # pairwise.py, pairwise_torch.py
        "localize": 1,  # localization/fca.py, vae.py, maps.py
        "describe": 1,  # localization/contrastive.py, thresholds.py, maps.py
        "weigh": 1,  # rarity.py, weights.py, bags.descriptors
        "group": 1,  # clustering/linkage.py
        "evaluate": 1,  # metrics.py, protocols.py
        "measure": 2,  # benchmark/, and everything that it calls
        "report": 2,  # reporting/, and the files of a run
    }
)
