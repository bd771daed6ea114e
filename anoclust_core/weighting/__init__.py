"""How much each patch counts: rarity, weights, the reference that rarity is measured against, pooling baselines."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from anoclust_core.weighting.rarity import expected_rarity as expected_rarity
    from anoclust_core.weighting.weights import soft_weights as soft_weights
    from anoclust_core.weighting.weights import temperature as temperature

# what the modules need, a compiler for example, is loaded with the first name that is asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"rarity": ["expected_rarity"], "weights": ["soft_weights", "temperature"]}
)
