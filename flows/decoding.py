"""Which decoding, tiles and windows the keys of a category stand for: as they are kept, or settled when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import ENOUGH_IMAGES, Decoding, choose_range, widened_note, widened_range
from anoclust_core.embedding.fixed_camera import aligned_spec, check_number
from anoclust_core.embedding.tiles import needs_frame, tiled_spec
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.weighting.covers import covered_spec
from flows.prefect_server.around import start_ahead, without_collections
from tasks import telemetry
from tasks.images.category_decoding import (
    KeptDecoding,
    deep_samples,
    read_decoding,
    read_kept,
    take_over,
    write_kept,
)
from tasks.images.category_frames import (
    FEWEST,
    CategoryFrames,
    largest_frame,
    measured_steadiness,
    read_frames,
    write_frames,
)
from tasks.images.decoding import pixels_within
from tasks.images.headers import MENDED
from tasks.networks.backbone_spec import embedding_spec, has_card
from tasks.networks.detectors import detector_of
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import STAGES, embedding_keys


def first_spec(layout: StoreLayout, config: RunConfig, *, debug: bool) -> EmbeddingSpec:
    """Spec of a command, before any category is looked at; Prefect's server starts meanwhile where it takes seconds.

    It takes seconds where the store has no card of the backbone. Then nothing is embedded, and flows will follow.

    Raises
    ------
    ConfigError
        As `embedding_spec`.
    """
    with without_collections():
        if not has_card(layout, config):
            start_ahead(debug)
        return embedding_spec(layout, config)


def kept_spec(layout: StoreLayout, category: str, spec: EmbeddingSpec, config: RunConfig) -> EmbeddingSpec:
    """Spec with the decoding, the tiles and the window that a category keeps; without any of them it is as it was.

    Raises
    ------
    ConfigError
        If the full range of floating-point pictures is asked for.
    """
    return _kept_spec(layout, category, spec, config, read_decoding(layout.decoding(category)))


def _kept_spec(
    layout: StoreLayout, category: str, spec: EmbeddingSpec, config: RunConfig, decoding: Decoding | None
) -> EmbeddingSpec:
    spec = replace(spec, detector=detector_of(config, category))
    decoded = spec.decoded_by(decoding.asked(config.data.range) if decoding else None)
    kept = read_frames(layout.frame(category)) if config.embed.has_tiles else CategoryFrames()
    if config.embed.has_tiles:
        decoded = tiled_spec(decoded, config.embed, kept.size if needs_frame(config.embed) else None)
    if config.recipe == "blind":
        return decoded
    return covered_spec(aligned_spec(decoded, config.pair, kept.seen_by(decoded)), config)


def decided_spec(
    layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig
) -> EmbeddingSpec | None:
    """Spec that the keys of a listing's images are made with; None where it has to be settled first."""
    if _lacks_size(layout, listed, config) or _lacks_steadiness(layout, listed, config):
        return None
    return _decoded_spec(layout, listed, spec, config)


def _lacks_size(layout: StoreLayout, listed: DatasetManifest, config: RunConfig) -> bool:
    """Whether the number of tiles, or how far frames lie apart, depends on a frame that is not known yet."""
    is_part = config.embed.has_tiles and config.embed.resize != "squash" and config.pair.aligned is None
    return (needs_frame(config.embed) or is_part) and read_frames(layout.frame(listed.category)).size is None


def _lacks_steadiness(layout: StoreLayout, listed: DatasetManifest, config: RunConfig) -> bool:
    """Whether it depends on frames that were never laid on each other where a patch is looked for."""
    if config.pair.aligned is not None or not config.embed.has_tiles or len(listed.images) < FEWEST:
        return False
    return read_frames(layout.frame(listed.category)).steadiness is None


def _decoded_spec(
    layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig
) -> EmbeddingSpec | None:
    """Spec where the decoding need not be settled first, whatever becomes of tiles."""
    kept = read_kept(layout.decoding(listed.category))
    found = _kept_spec(layout, listed.category, spec, config, kept.decoding if kept else None)
    if kept is None:
        return None if listed.special else found
    is_settled = kept.decoding.version == STAGES["decode"].version and not _unsettled(listed, kept, config)
    return found if is_settled else None


def settled_spec(layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig) -> EmbeddingSpec:
    """Spec that the keys of a listing's images are made with; what it lacks is settled for good. Hold the lock.

    A category's first deep images say what is black and white in all that come after them; while these are few, more of
    them may widen the range. Embeddings and distances of what is decoded as it was are taken over. The category's
    largest frame at first says into how many tiles all of them are cut, and its frames at first whether patches are
    compared near their own place only.

    Raises
    ------
    ConfigError
        If the full range of floating-point pictures is asked for.
    """
    path = layout.frame(listed.category)
    if _lacks_size(layout, listed, config):
        size = largest_frame(listed.images)
        if size is not None:  # else there is no image that could be cut
            write_frames(path, replace(read_frames(path), size=size))
    if _lacks_steadiness(layout, listed, config):
        deep = _with_decoding(layout, listed, spec, config).deep
        steadiness = measured_steadiness(listed.images, deep=deep, max_pixels=_most_pixels(config))
        if steadiness is not None:
            write_frames(path, replace(read_frames(path), steadiness=steadiness))
    found = _with_decoding(layout, listed, spec, config)
    check_number(found, config.pair, read_frames(path).seen_by(found))
    return found


def _with_decoding(
    layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig
) -> EmbeddingSpec:
    """Spec with a decoding that all images of a listing have a part in; what is lacking is settled for good."""
    kept = read_kept(layout.decoding(listed.category))
    if _decoded_spec(layout, listed, spec, config) is None:
        kept = _settle(layout, listed, spec, config, kept)
    found = _kept_spec(layout, listed.category, spec, config, kept.decoding if kept else None)
    if kept is not None and config.data.range != "auto":
        auto = config.model_copy(update={"data": config.data.model_copy(update={"range": "auto"})})
        _take_over_plain(layout, listed, _kept_spec(layout, listed.category, spec, auto, kept.decoding), found)
    return found


def _settle(
    layout: StoreLayout, listed: DatasetManifest, spec: EmbeddingSpec, config: RunConfig, kept: KeptDecoding | None
) -> KeptDecoding | None:
    """Take the ranges that are lacking, and widen those of few images that new ones do not fit; gives what is kept."""
    before = kept.decoding if kept else None
    ranges = {one.samples: one for one in before.deep} if before else {}
    seen = dict(kept.seen) if kept else {}
    lacking, widened = [], []
    for kind, samples in _samples(listed, _unsettled(listed, kept, config), config).items():
        if not samples:
            continue  # none of them can be decoded: nothing needs a range
        was = ranges.get(kind)
        ranges[kind] = widened_range(was, list(samples.values())) if was else choose_range(kind, list(samples.values()))
        seen[kind] = tuple(sorted({*seen.get(kind, ()), *samples}))
        if was is None:
            lacking.append(kind)
        elif ranges[kind] != was:
            widened.append(kind)
            telemetry.current().notes.append(widened_note(was, ranges[kind]))
    deep = tuple(replace(ranges[kind], n_seen=len(seen.get(kind, ()))) for kind in sorted(ranges))
    seen = {one.samples: seen[one.samples] for one in deep if one.samples in seen and one.n_images < ENOUGH_IMAGES}
    now = KeptDecoding(Decoding(STAGES["decode"].version, deep), seen)
    if before is not None and now.decoding.identity == before.identity and kept is not None and seen == dict(kept.seen):
        return kept
    auto = config.model_copy(update={"data": config.data.model_copy(update={"range": "auto"})})
    old, new = (_kept_spec(layout, listed.category, spec, auto, one) for one in (before, now.decoding))
    if widened:
        _take_over_plain(layout, listed, old, new)
    else:
        is_same = before is not None and before.version == now.decoding.version
        others = [content for content, kind in listed.special.items() if not is_same or kind in lacking]
        _take_over(layout, listed, old, new, fits=lambda contents: contents.isdisjoint(others))
    write_kept(layout.decoding(listed.category), now)
    return now


def _unsettled(listed: DatasetManifest, kept: KeptDecoding | None, config: RunConfig) -> list[str]:
    """Kinds of samples that there are images and no range of, or whose range has to be held against new images."""
    ranges = {one.samples: one for one in kept.decoding.deep} if kept else {}
    seen = {kind: set(contents) for kind, contents in kept.seen.items()} if kept else {}
    found = set()
    for content, kind in listed.special.items():
        if kind == MENDED or (kind in ranges and (ranges[kind].is_frozen or config.data.range != "auto")):
            continue
        if kind not in ranges or content not in seen.get(kind, ()):
            found.add(kind)
    return sorted(found)


def _samples(listed: DatasetManifest, kinds: Sequence[str], config: RunConfig) -> dict[str, dict[str, NDArray[Any]]]:
    """Values of a sample of the listed images of each kind."""
    by_kind = {kind: [one for one in listed.images if listed.special.get(one.sha256) == kind] for kind in kinds}
    return {kind: deep_samples(images, max_pixels=_most_pixels(config)) for kind, images in by_kind.items()}


def _most_pixels(config: RunConfig) -> int:
    """Pixels of the largest image that there is memory for to decode it here."""
    from tasks.compute.dask_jobs import memory_budget  # imports Dask, which a run that finds nothing to do never needs

    return pixels_within(memory_budget(config.memory))


def _take_over_plain(layout: StoreLayout, listed: DatasetManifest, before: EmbeddingSpec, now: EmbeddingSpec) -> None:
    """Let the new keys have what the old ones have of plain pictures, as far as they are listed: others may be deep."""
    plain = {image.sha256 for image in listed.images if image.sha256 not in listed.special}
    if before != now and plain:
        _take_over(layout, listed, before, now, fits=plain.issuperset)


def _take_over(
    layout: StoreLayout,
    listed: DatasetManifest,
    before: EmbeddingSpec,
    now: EmbeddingSpec,
    *,
    fits: Callable[[set[str]], bool],
) -> None:
    """Let the new keys have what the old ones have of pictures that are decoded as they were."""
    old, new, category = embedding_keys(listed, before), embedding_keys(listed, now), listed.category
    for was, level in zip(before.levels, now.levels, strict=True):
        take_over(
            layout.folder("embeddings", category, embedding_keys(listed, was).embedding),
            layout.folder("embeddings", category, embedding_keys(listed, level).embedding),
            ("hashes",),
            fits=fits,
        )
    take_over(
        layout.folder("nearest", category, old.distances),
        layout.folder("nearest", category, new.distances),
        ("rows", "columns"),
        fits=fits,
    )
