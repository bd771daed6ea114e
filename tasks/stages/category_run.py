"""What all stages of one category work with, as one object."""

from __future__ import annotations

from dataclasses import dataclass

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec
from tasks.stores.layout import StoreLayout


@dataclass(frozen=True)
class CategoryRun:
    """What all stages of one category work with.

    Attributes
    ----------
    layout
        The store.
    category
        Name of the product.
    config, spec
        What is asked for, and the backbone that it resolves to.
    memory_budget
        Bytes that a stage may plan with.
    """

    layout: StoreLayout
    category: str
    config: RunConfig
    spec: EmbeddingSpec
    memory_budget: int
