"""How much each patch counts: rarity, weights, the reference that rarity is measured against, pooling baselines."""
