"""Images and networks from files, as arrays and objects for `anoclust_core.clustering.AnomalyClusterer`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anoclust_core.config import DEFAULT_BACKBONE, RECIPE_SIDES
from anoclust_core.embedding.backbones import build_extractor, describe, fold_batch_norms
from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.extraction import choose_device
from anoclust_core.embedding.of_arrays import Backbone
from anoclust_core.errors import DatasetError
from anoclust_core.records import ImageRecord
from tasks.images.category_decoding import sampled_range
from tasks.images.decoding import UnreadableImageError, read_image
from tasks.images.headers import MENDED, PLAIN, look_at
from tasks.networks.checkpoints import checkpoint_identity, load_state_dict
from tasks.stores.files import sha256_file


def load_images(paths: Iterable[str | Path], *, deep: Sequence[DeepRange] | None = None) -> list[NDArray[np.uint8]]:
    """Read image files, as a run decodes them.

    Parameters
    ----------
    paths
        Files, of any format that a run takes.
    deep
        What is black and white in pictures of more than 8 bits, by kind of samples; None takes it from these files. For
        pictures that come later give the ranges of the first ones, `deep_ranges`.

    Returns
    -------
    images
        In the order of the paths, each of shape ``(height, width, 3)``, uint8, RGB.

    Raises
    ------
    DatasetError
        If a file cannot be used.
    """
    records = [_record(Path(path)) for path in paths]
    ranges = _ranges(records) if deep is None else deep
    images = []
    for one in records:
        try:
            images.append(read_image(Path(one.file), sha256=one.sha256, deep=ranges))
        except UnreadableImageError as error:
            raise DatasetError(f"{one.file} cannot be used: {error}; leave it out, or mend it") from error
    return images


def deep_ranges(paths: Iterable[str | Path]) -> list[DeepRange]:
    """Take from image files what is black and white in pictures of more than 8 bits; an empty list where none is deep.

    Raises
    ------
    DatasetError
        If a file cannot be used.
    """
    return _ranges([_record(Path(path)) for path in paths])


def load_backbone(
    name: str = DEFAULT_BACKBONE,
    *,
    image_size: int = RECIPE_SIDES["auto"],
    checkpoint: str | None = None,
    device: str = "auto",
) -> Backbone:
    """Build a network with its weights, as a run does by recipe auto.

    Parameters
    ----------
    name
        As the setting ``embed.backbone``.
    image_size
        Side in pixels of the square that images are squashed to.
    checkpoint
        File with weights; None takes the backbone's own.
    device
        As the setting ``embed.device``.

    Raises
    ------
    ConfigError
        If timm knows no such model, it refuses the size, or there is no such checkpoint or device.
    StoreError
        If the weights are not to be had, or do not fit.
    """
    weights = checkpoint_identity(name, checkpoint)
    spec = describe(name, weights=weights, layers=None, image_size=image_size, in_levels=True)
    extractor = build_extractor(spec, load_state_dict(name, spec.timm_model, checkpoint))
    chosen = choose_device(device)
    return Backbone(spec, fold_batch_norms(extractor, image_size).to(chosen), device=chosen)


def _record(path: Path) -> ImageRecord:
    try:
        return ImageRecord(path=str(path), file=str(path.absolute()), sha256=sha256_file(path), role="cluster")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}; give files with images") from error


def _ranges(images: Sequence[ImageRecord]) -> list[DeepRange]:
    """Range of every kind of deep samples that images have."""
    by_kind: dict[str, list[ImageRecord]] = {}
    for image in images:
        by_kind.setdefault(look_at(Path(image.file)), []).append(image)
    deep = {kind: of_kind for kind, of_kind in by_kind.items() if kind not in (PLAIN, MENDED)}
    found = (sampled_range(kind, deep[kind], max_pixels=None) for kind in sorted(deep))
    return [one for one in found if one is not None]
