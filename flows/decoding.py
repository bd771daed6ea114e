"""Which decoding the keys of a category stand for: as it is kept, or settled once its first deep picture comes."""

from __future__ import annotations

from dataclasses import replace

from anoclust_core.config import RunConfig
from anoclust_core.deep import Decoding
from anoclust_core.memory import DECODE_BYTES_PER_PIXEL
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.versions import ALGORITHM_VERSIONS
from flows.plan import embedding_keys
from tasks.stores.decoding import read_decoding, sampled_range, take_over, write_decoding
from tasks.stores.images import MAX_PIXELS
from tasks.stores.layout import StoreLayout
from tasks.stores.looking import DEEP


def kept_spec(layout: StoreLayout, category: str, spec: EmbeddingSpec) -> EmbeddingSpec:
    """Spec with the decoding that a category keeps; of one with plain pictures only it is as it was."""
    return replace(spec, decoding=read_decoding(layout.decoding(category)))


def decided_spec(layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec) -> EmbeddingSpec | None:
    """Spec that the keys of a listing's images are made with; None where it has to be settled first."""
    found = kept_spec(layout, listed.category, spec)
    kept = found.decoding
    if kept is None:
        return None if listed.special else found
    is_lacking = kept.deep is None and DEEP in listed.special.values()
    return None if is_lacking or kept.version != ALGORITHM_VERSIONS["decode"] else found


def settled_spec(layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig) -> EmbeddingSpec:
    """Spec that the keys of a listing's images are made with; what it lacks is settled for good. Hold the lock.

    A category's first deep images say what is black and white in all that come after them. Embeddings and distances of
    plain pictures are taken over.
    """
    found = decided_spec(layout, listed, spec)
    if found is not None:
        return found
    before = kept_spec(layout, listed.category, spec)
    deep = before.decoding.deep if before.decoding else None
    if deep is None and DEEP in listed.special.values():
        from tasks.stores.engine import memory_budget  # imports Dask, which a run that finds nothing to do never needs

        max_pixels = min(MAX_PIXELS, memory_budget(config.memory) // (2 * DECODE_BYTES_PER_PIXEL))
        images = [image for image in listed.images if listed.special.get(image.sha256) == DEEP]
        deep = sampled_range(images, max_pixels=max_pixels)
    now = replace(before, decoding=Decoding(ALGORITHM_VERSIONS["decode"], deep))
    if now == before:  # no deep image can be decoded: there is no range, and nothing that needs one
        return now
    _take_over(layout, listed, before, now)
    write_decoding(layout.decoding(listed.category), now.decoding or Decoding(ALGORITHM_VERSIONS["decode"]))
    return now


def _take_over(layout: StoreLayout, listed: DatasetManifest, before: EmbeddingSpec, now: EmbeddingSpec) -> None:
    """Let the new keys have what the old ones have of plain pictures."""
    old, new, category = embedding_keys(listed, before), embedding_keys(listed, now), listed.category
    take_over(
        layout.embeddings(category, old.embedding),
        layout.embeddings(category, new.embedding),
        ("hashes",),
        but=listed.special,
    )
    take_over(
        layout.nearest(category, old.distances),
        layout.nearest(category, new.distances),
        ("rows", "columns"),
        but=listed.special,
    )
