"""The first two stages of every flow that works on images: embed what is new, compare what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anoclust_core.records import (
    ArrayHandle,
    BagWeights,
    DatasetManifest,
    NearestDistances,
    Reference,
    unique_contents,
)
from tasks.compute.closest import has_all_pairs
from tasks.images.listing import check_enough
from tasks.networks.openvino import network_file
from tasks.stages.describe import describe
from tasks.stages.detect import detect
from tasks.stages.embed import embed
from tasks.stages.localize import localize
from tasks.stages.near_duplicates import is_settled, near_duplicates
from tasks.stages.pair import pair
from tasks.stages.runner import StageRunner
from tasks.stages.whiten import whiten
from tasks.stores import arrays
from tasks.stores.detected import DetectedMaps
from tasks.stores.embeddings import LevelSegments
from tasks.stores.manifests import load_manifest, save_manifest
from tasks.stores.nearest import NearestSlabs, wanted_pairs
from tasks.stores.stage_keys import detect_key, embedding_keys

_NO_MAP: Final = "its file can no longer be read, and the detector has not seen it"


@dataclass(frozen=True)
class EmbeddedImages:
    """Images of one category that have embeddings.

    Attributes
    ----------
    images
        Without those that turned out unusable; every later key stands for these.
    manifest
        Path of their manifest.
    embeddings
        Folder of their segments.
    deeper
        Folder of the segments of the spec's deeper level; empty where there is none.
    """

    images: DatasetManifest
    manifest: str
    embeddings: str
    deeper: str = ""


def embed_images(run_stage: StageRunner, manifest: str) -> EmbeddedImages:
    """Embed the images of a manifest that no segment holds, and set aside those that cannot be used.

    Parameters
    ----------
    run_stage
        Runs the stages of the category.
    manifest
        Path of the saved manifest.

    Raises
    ------
    DatasetError
        If too few images are left, or too many are bad.
    """
    embedded = embed_any(run_stage, load_manifest(Path(manifest)), manifest)
    check_enough(embedded.images, max_bad_share=run_stage.run.config.data.max_bad_share)
    return embedded


def embed_any(run_stage: StageRunner, images: DatasetManifest, manifest: str) -> EmbeddedImages:
    """Embed the images that no segment holds, however few or bad they are; ``manifest`` is where they are saved."""
    layout, spec = run_stage.run.layout, run_stage.run.spec
    keys = embedding_keys(images, spec)
    folders = [
        layout.folder("embeddings", images.category, embedding_keys(images, level).embedding) for level in spec.levels
    ]
    levels = LevelSegments.of(*folders)
    deeper = str(folders[1]) if spec.deeper else ""
    n_new = len(levels.missing(images.images))
    embeddings = run_stage(
        embed,
        key=keys.embed,
        detail=f"{n_new} new images",
        is_complete=n_new == 0,
        manifest=manifest,
        folder=str(levels.first.folder),
        deeper=deeper,
        network=str(network_file(layout, spec)),
    )
    images = images.without(levels.first.unreadable(images.images))
    images = images.deferring(levels.not_now(images.images, embeddings.not_now))
    if spec.detector is not None:
        images = detect_images(run_stage, images)
    return EmbeddedImages(images, str(save_manifest(layout, images)), embeddings.uri, deeper)


def detect_images(run_stage: StageRunner, images: DatasetManifest) -> DatasetManifest:
    """Images that have a map of the detector, made now or before; those that could not be read are left for later."""
    keys = embedding_keys(images, run_stage.run.spec)
    maps = DetectedMaps(run_stage.run.layout.folder("detected", images.category, keys.detected))
    n_new = len(maps.missing(images.clustered))
    found = run_stage(
        detect,
        key=detect_key(keys, images),
        detail=f"{n_new} new images",
        is_complete=n_new == 0,
        manifest=str(save_manifest(run_stage.run.layout, images)),
        folder=str(maps.folder),
    )
    lost = maps.missing(images.clustered)
    return images.deferring({sha256: found.not_now.get(sha256, _NO_MAP) for sha256 in lost})


def compare_images(
    run_stage: StageRunner,
    embedded: EmbeddedImages,
    reference: Reference,
    *,
    key: str,
    distances: str,
    with_means: bool = False,
    both_ways: bool = False,
) -> NearestDistances:
    """Compute the nearest distances to the reference that no slab holds.

    Parameters
    ----------
    run_stage
        Runs the stages of the category.
    embedded
        From `embed_images`.
    reference
        Images that rarity is measured against.
    key, distances
        Content key of the result, and the one that names the slabs' folder.
    with_means
        Compute the mean distance of every pair too, for the Hausdorff distance that needs it.
    both_ways
        Keep the distances from normals to the clustered images too.
    """
    layout, category = run_stage.run.layout, embedded.images.category
    slabs = NearestSlabs(layout.folder("nearest", category, distances))
    covers = embedding_keys(embedded.images, run_stage.run.spec).covers
    n_pairs = slabs.count_missing(wanted_pairs(embedded.images, reference, with_means=with_means, both_ways=both_ways))
    return run_stage(
        pair,
        key=key,
        detail=f"{n_pairs} new image pairs",
        is_complete=n_pairs == 0,
        manifest=embedded.manifest,
        embeddings=(embedded.embeddings, str(layout.folder("embeddings", category, covers)) if covers else ""),
        folder=str(slabs.folder),
        reference=reference,
        with_means=with_means,
        both_ways=both_ways,
    )


def find_near_duplicates(
    run_stage: StageRunner, embedded: EmbeddedImages, nearest: NearestDistances, *, key: str
) -> ArrayHandle:
    """Find images of one part that was exposed several times.

    Parameters
    ----------
    run_stage
        Runs the stages of the category.
    embedded
        From `embed_images`.
    nearest
        From `compare_images`.
    key
        Content key of the stage.
    """
    run = run_stage.run
    folder = run.layout.folder("near_duplicates", run.category, key)
    return run_stage(
        near_duplicates,
        key=key,
        detail=f"{len(embedded.images.clustered)} images",
        is_complete=is_settled(
            folder,
            run.spec,
            run.config,
            n_contents=len(unique_contents(embedded.images.clustered)[0]),
            is_stored=has_all_pairs(nearest.reference),
            memory_budget=run.memory_budget,
        ),
        manifest=embedded.manifest,
        embeddings=embedded.embeddings,
        nearest=nearest,
        folder=str(folder),
    )


def describe_blindly(
    run_stage: StageRunner,
    embedded: EmbeddedImages,
    *,
    localize_key: str,
    describe_key: str,
    n_classes: int | None,
) -> BagWeights:
    """Localise anomalies in every image alone, and pool each image around them: recipe blind, [ARDELEAN24].

    Parameters
    ----------
    run_stage
        Runs the stages of the category.
    embedded
        From `embed_images`.
    localize_key, describe_key
        Content keys of the two stages.
    n_classes
        For the threshold that needs it; None where it is not known.
    """
    maps = localize_blindly(run_stage, embedded, key=localize_key)
    layout, category, config = run_stage.run.layout, run_stage.run.category, run_stage.run.config
    weights_folder = layout.folder("weights", category, describe_key)
    localizer = layout.folder("localizers", category, describe_key)
    return run_stage(
        describe,
        key=describe_key,
        detail=f"tau {config.weigh.tau}, {'contrastive' if config.blind.contrastive else 'plain'}",
        is_complete=arrays.is_complete(weights_folder) and arrays.is_complete(localizer),
        manifest=embedded.manifest,
        embeddings=embedded.embeddings,
        maps=maps,
        folder=str(weights_folder),
        training=(
            str(layout.folder("training", category, localize_key)),
            str(layout.folder("training", category, describe_key)),
        ),
        n_classes=n_classes,
    )


def describe_in_levels(
    run_stage: StageRunner,
    embedded: EmbeddedImages,
    nearest: NearestDistances | None,
    *,
    key: str,
    n_clusters: int | None,
) -> BagWeights:
    """Weigh rare patches and describe images on several feature levels: recipe auto.

    Parameters
    ----------
    run_stage
        Runs the stages of the category.
    embedded
        From `embed_images`.
    nearest
        From `compare_images`; None where the weights follow given maps.
    key
        Content key of the stage.
    n_clusters
        Number that is cut; None where it is suggested.
    """
    layout, category, config = run_stage.run.layout, run_stage.run.category, run_stage.run.config
    folder, model = layout.folder("weights", category, key), layout.folder("models", category, key)
    return run_stage(
        whiten,
        key=key,
        detail=f"{config.weigh.weights}, tau {config.weigh.tau}",
        is_complete=arrays.is_complete(folder) and arrays.is_complete(model),
        manifest=embedded.manifest,
        embeddings=(embedded.embeddings, embedded.deeper),
        nearest=nearest,
        folder=str(folder),
        model=str(model),
        n_clusters=n_clusters,
    )


def localize_blindly(run_stage: StageRunner, embedded: EmbeddedImages, *, key: str) -> ArrayHandle:
    """Make the raw anomaly maps of recipe blind: the first half of `describe_blindly`, with its parameters."""
    layout, category, config = run_stage.run.layout, run_stage.run.category, run_stage.run.config
    folder, training = (layout.folder(kind, category, key) for kind in ("maps", "training"))
    has_vae = arrays.is_complete(training) if config.blind.vae else True  # what describes later images
    return run_stage(
        localize,
        key=key,
        detail=f"{config.blind.variant}, {'VAE' if config.blind.vae else 'no VAE'}",
        is_complete=arrays.is_complete(folder) and has_vae,
        manifest=embedded.manifest,
        embeddings=embedded.embeddings,
        folder=str(folder),
        training=str(training),
    )
