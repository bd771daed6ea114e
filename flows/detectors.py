"""Train a detector for every category of a data set, for ``--weights detector:FOLDER`` and the localisation table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import DeepRange, asked_range
from anoclust_core.errors import AnoclustError, ConfigError, DamagedError
from anoclust_core.records import DatasetManifest, ImageRecord, SetAside, unique_contents
from tasks.images.category_decoding import sampled_range
from tasks.images.decoding import UnreadableImageError, UnreadNowError, pixels_within, read_picture
from tasks.images.headers import MENDED
from tasks.images.listing import check_enough, list_datasets
from tasks.stores.files import read_checked, safe_name, sha256_file, with_digest, write_json
from tasks.telemetry import Listener

if TYPE_CHECKING:
    from tasks.networks.detector_training import DetectorTraining

DEFAULT_STEPS: Final = {"cfa": 2_000, "draem": 20_000}
"""Steps of what is trained step by step. CFA's paper takes 30 passes and DRAEM's 700, as many as their sets need."""

NORMALS: Final = "normals"
"""What a detector is trained on where there are known normals."""

SIDE: Final = 256
"""Side of the pictures that detectors see, as their papers have it, where no ``--image-size`` is asked for."""


@dataclass(frozen=True)
class TrainedDetector:
    """What came of one category: the model's file and how it was trained, or why there is none.

    ``left_out`` has the files that could not be used, or not now.
    """

    category: str
    file: Path | None = None
    n_images: int = 0
    trained_on: str = ""
    left_out: tuple[SetAside, ...] = ()
    error: AnoclustError | None = None


def train_detectors(
    data: Path,
    config: RunConfig,
    method: str,
    out: Path,
    *,
    steps: int | None = None,
    textures: str | None = None,
    categories: Sequence[str] = (),
    listener: Listener | None = None,
) -> Iterator[TrainedDetector]:
    """Train one detector a category on its normals, or on everything where there are none.

    Parameters
    ----------
    data
        Folder or manifest, see `list_datasets`.
    config
        Backbone, data settings, seed; a category may have its own.
    method
        ``patchcore``, ``padim``, ``cfa`` or ``draem``.
    out
        Folder that gets ``CATEGORY.xml`` and ``CATEGORY.bin``, and ``CATEGORY.json`` with how it was trained.
    steps
        Of CFA and DRAEM; None takes `DEFAULT_STEPS`.
    textures
        Folder of pictures that DRAEM pastes; None takes those of scikit-image.
    categories
        Names; all by default.
    listener
        Hears of progress.

    Yields
    ------
    trained
        One per category; one that fails does not stop the others.

    Raises
    ------
    AnoclustError
        If the data or the settings are of no use for any category, or those of one category are of no use for training;
        nothing is trained then.
    """
    from tasks.networks.anomalib_detectors import check_installed, check_training
    from tasks.networks.detector_training import METHODS

    if method not in METHODS:
        raise ConfigError(f"--method takes {', '.join(METHODS[:-1])} or {METHODS[-1]}; found {method!r}")
    if textures is not None and method != "draem":
        raise ConfigError(f"--textures are what draem pastes; omit it with --method {method}")
    if steps is not None and method not in DEFAULT_STEPS:
        raise ConfigError(f"--steps are those of cfa and draem; {method} takes none, omit it")
    check_installed()
    manifests = list_datasets(data, config, categories=categories, exclude=out, listener=listener)
    trainings = [_training(method, config.of(listed.category), steps, textures) for listed in manifests]
    for training in dict.fromkeys(trainings):
        check_training(training)
    for listed, training in zip(manifests, trainings, strict=True):
        try:
            yield _trained(listed, config.of(listed.category), training, out, listener or (lambda *_: None))
        except AnoclustError as error:
            yield TrainedDetector(listed.category, error=error)


def _training(method: str, config: RunConfig, steps: int | None, textures: str | None) -> DetectorTraining:
    """How a category with these settings is trained."""
    from tasks.networks.detector_training import DetectorTraining, backbone_of

    return DetectorTraining(
        method=method,
        backbone=backbone_of(method, config.embed.backbone),
        checkpoint=config.embed.checkpoint if method != "draem" else None,
        side=config.embed.image_size or SIDE,
        steps=steps or DEFAULT_STEPS.get(method, 0),
        textures=textures,
        seed=config.seed,
    )


def _trained(
    listed: DatasetManifest, config: RunConfig, training: DetectorTraining, out: Path, listener: Listener
) -> TrainedDetector:
    from anoclust_core.embedding.extraction import choose_device
    from tasks.compute.dask_jobs import memory_budget
    from tasks.networks.anomalib_detectors import export_detector, train_detector
    from tasks.networks.detector_training import training_memory

    check_enough(listed, max_bad_share=config.data.max_bad_share)
    trained_on = NORMALS if listed.normals else "everything"
    budget = memory_budget(config.memory)
    training_memory(training, len(_training_images(listed))).check(budget)
    decoded, pictures = _decoded(listed, config, training.side, budget)
    images = _training_images(decoded)
    detector = train_detector(
        pictures,
        training,
        device=choose_device(config.embed.device),
        progress=_told(listener, listed.category),
    )
    file = out / f"{safe_name(listed.category)}.xml"
    export_detector(detector, file, side=training.side)
    how = {
        **asdict(training),
        "checkpoint": _weights(training),
        "n_images": len(images),
        "trained_on": trained_on,
        "images": [image.sha256 for image in images],
    }
    files = {path.name: sha256_file(path) for path in (file, file.with_suffix(".bin"))}
    write_json(file.with_suffix(".json"), with_digest({**how, "files": files}))
    left_out = (*decoded.quarantine, *decoded.deferred)
    return TrainedDetector(listed.category, file, len(images), trained_on, left_out)


def _training_images(listed: DatasetManifest) -> list[ImageRecord]:
    """Normals, or everything where there are none: each content once, in their order."""
    chosen = listed.normals or listed.clustered
    first = {image.sha256: image for image in chosen}
    return [first[content] for content in unique_contents(chosen)[0]]


def _told(listener: Listener, category: str) -> Callable[[int, int], None]:
    return lambda done, total: listener(category, "train", done, total)


def _weights(training: DetectorTraining) -> str | None:
    """Identity of the backbone's weights; none of DRAEM, which has no backbone, or of timm's own."""
    from tasks.networks.checkpoints import checkpoint_identity

    return checkpoint_identity(training.backbone, training.checkpoint) if training.backbone else None


@dataclass(frozen=True)
class _Picture:
    """A training picture, or why it can never be used, or not now."""

    pixels: NDArray[np.uint8] | None = None
    bad: str = ""
    later: str = ""


def _decoded(
    listed: DatasetManifest, config: RunConfig, side: int, budget: int
) -> tuple[DatasetManifest, NDArray[np.uint8]]:
    """Training pictures as the detector sees them, whole and resized to a square; the listing has what is left.

    Raises
    ------
    DatasetError
        If too few are left, see `check_enough`.
    """
    most = pixels_within(budget // 4)
    deep = _ranges(listed, config, most)
    images = _training_images(listed)

    def small(image: ImageRecord) -> _Picture:
        try:
            pixels = read_picture(Path(image.file), sha256=image.sha256, max_pixels=most, deep=deep).pixels
        except UnreadNowError as error:
            return _Picture(later=str(error))
        except UnreadableImageError as error:
            return _Picture(bad=str(error))
        resized = Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), Image.Resampling.BILINEAR)
        return _Picture(np.asarray(resized))

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip((image.sha256 for image in images), pool.map(small, images), strict=True))
    left = listed.without({content: one.bad for content, one in found.items() if one.bad})
    left = left.deferring({content: one.later for content, one in found.items() if one.later})
    check_enough(left, max_bad_share=config.data.max_bad_share)
    return left, np.stack([one.pixels for one in found.values() if one.pixels is not None])


def _ranges(listed: DatasetManifest, config: RunConfig, max_pixels: int) -> list[DeepRange]:
    """Which values are black and white in pictures of more than 8 bits, from a sample of each kind."""
    found = []
    for kind in sorted({*listed.special.values()} - {MENDED}):
        of_kind = [image for image in listed.images if listed.special.get(image.sha256) == kind]
        found.append(sampled_range(kind, of_kind, max_pixels=max_pixels))
    return [asked_range(one, config.data.range) for one in found if one is not None]


@dataclass(frozen=True)
class TrainingNote:
    """How a detector was trained: in words, on known normals or not, and on which contents."""

    text: str = "trained elsewhere"
    on_normals: bool = False
    images: frozenset[str] = frozenset()


def training_note(model: Path) -> TrainingNote:
    """How a detector was trained, as `train_detectors` noted it beside the model."""
    try:
        found = read_checked(model.with_suffix(".json"))
        backbone = f"{found['backbone']}, " if found["backbone"] else ""
        steps = f"{found['steps']:,} steps, " if found["steps"] else ""
        how = f"trained on {found['trained_on']} ({found['n_images']:,} images)"
        text = f"{backbone}{steps}{found['side']} px, {how}"
        return TrainingNote(text, found["trained_on"] == NORMALS, frozenset(found.get("images", ())))
    except (OSError, DamagedError, KeyError):
        return TrainingNote()
