"""Scores: of partitions, of rankings and maps, and the protocols that say what counts in them."""
