"""Which decoding the keys of a category stand for: as it is kept, or settled once its first deep picture comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import Decoding, DeepRange
from anoclust_core.memory import DECODE_BYTES_PER_PIXEL
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from tasks.images.category_decoding import read_decoding, sampled_range, take_over, write_decoding
from tasks.images.decoding import MAX_PIXELS
from tasks.images.headers import MENDED
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import STAGES, embedding_keys


def kept_spec(layout: StoreLayout, category: str, spec: EmbeddingSpec) -> EmbeddingSpec:
    """Spec with the decoding that a category keeps; of one with plain pictures only it is as it was."""
    return spec.decoded_by(read_decoding(layout.decoding(category)))


def decided_spec(layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec) -> EmbeddingSpec | None:
    """Spec that the keys of a listing's images are made with; None where it has to be settled first."""
    found = kept_spec(layout, listed.category, spec)
    if found.decoding is None:
        return None if listed.special else found
    return found if found.decoding.version == STAGES["decode"].version and not _lacking(listed, found) else None


def settled_spec(layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig) -> EmbeddingSpec:
    """Spec that the keys of a listing's images are made with; what it lacks is settled for good. Hold the lock.

    A category's first deep images say what is black and white in all that come after them. Embeddings and distances of
    what is decoded as it was are taken over.
    """
    found = decided_spec(layout, listed, spec)
    if found is not None:
        return found
    before = kept_spec(layout, listed.category, spec)
    lacking = _lacking(listed, before)
    ranges = _ranges(listed, lacking, config) if lacking else []
    decoding = Decoding(STAGES["decode"].version, tuple(sorted((*before.deep, *ranges), key=lambda one: one.samples)))
    if decoding == before.decoding:  # none of the deep images can be decoded: nothing needs their range
        return before
    now = before.decoded_by(decoding)
    is_same = before.decoding is not None and before.decoding.version == decoding.version
    others = [content for content, kind in listed.special.items() if not is_same or kind in lacking]
    _take_over(layout, listed, before, now, but=others)
    write_decoding(layout.decoding(listed.category), decoding)
    return now


def _lacking(listed: DatasetManifest, spec: EmbeddingSpec) -> list[str]:
    """Kinds of samples that there are images and no range of."""
    return sorted({*listed.special.values()} - {MENDED} - {one.samples for one in spec.deep})


def _ranges(listed: DatasetManifest, kinds: Sequence[str], config: RunConfig) -> list[DeepRange]:
    from tasks.compute.dask_jobs import memory_budget  # imports Dask, which a run that finds nothing to do never needs

    max_pixels = min(MAX_PIXELS, memory_budget(config.memory) // (2 * DECODE_BYTES_PER_PIXEL))
    found = []
    for kind in kinds:
        images = [image for image in listed.images if listed.special.get(image.sha256) == kind]
        found.append(sampled_range(kind, images, max_pixels=max_pixels))
    return [one for one in found if one is not None]


def _take_over(
    layout: StoreLayout, listed: DatasetManifest, before: EmbeddingSpec, now: EmbeddingSpec, *, but: Collection[str]
) -> None:
    """Let the new keys have what the old ones have of pictures that are decoded as they were."""
    old, new, category = embedding_keys(listed, before), embedding_keys(listed, now), listed.category
    for was, level in zip(before.levels, now.levels, strict=True):
        take_over(
            layout.folder("embeddings", category, embedding_keys(listed, was).embedding),
            layout.folder("embeddings", category, embedding_keys(listed, level).embedding),
            ("hashes",),
            but=but,
        )
    take_over(
        layout.folder("nearest", category, old.distances),
        layout.folder("nearest", category, new.distances),
        ("rows", "columns"),
        but=but,
    )
