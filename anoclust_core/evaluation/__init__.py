"""Scores: of partitions, of rankings and maps, and the protocols that say what counts in them."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from anoclust_core.evaluation.partitions import score_partition as score_partition

# what the modules need, a compiler for example, is loaded with the first name that is asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"partitions": ["score_partition"]})
