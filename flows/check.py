"""A check before the first run: what is in a data set, what settings a run would take, and what it would cost."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import DeepRange, asked_range, range_note
from anoclust_core.embedding.fixed_camera import Steadiness, aligned_note, aligned_spec, check_number
from anoclust_core.embedding.tiles import tiled_spec
from anoclust_core.errors import AnoclustError, ConfigError
from anoclust_core.memory import DECODE_BYTES_PER_PIXEL
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, SetAside, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.reference import reference_contents, reference_note
from flows.plan import RunPlan, plan_run, used_images
from flows.prefect_server.around import importing, prepare_prefect
from tasks.images.category_decoding import sampled_range
from tasks.images.category_frames import SMALL_SIDE, largest_frame
from tasks.images.choosing import Chosen, choose_images
from tasks.images.decoding import MAX_PIXELS
from tasks.images.folders import printable
from tasks.images.headers import MENDED
from tasks.images.listing import check_enough, read_files
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores.layout import StoreLayout
from tasks.stores.nearest import NearestSlabs, wanted_pairs
from tasks.telemetry import Listener

if TYPE_CHECKING:
    from tasks.check.forecast import Speed, Trial, Work
    from tasks.check.pictures import Seen


@dataclass(frozen=True)
class Taken:
    """One setting that a run would take: its name, its value, and why, in words."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class Forecast:
    """What a run over one category would take.

    Attributes
    ----------
    seconds
        By what takes them, without what a command takes once; empty where they cannot be told.
    memory
        Bytes of each stage, on top of what the process has before; empty where it cannot be told.
    why_not
        Why something is left out; empty where nothing is.
    """

    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    why_not: str = ""


@dataclass(frozen=True)
class CategoryCheck:
    """What was seen of one category.

    Attributes
    ----------
    category
        Name of the product.
    n_files, n_looked_at
        Image files, and those of them that were read: a sample.
    kinds
        Number of files by role (``cluster`` or ``normal``), split and label.
    n_labelled, n_masks
        Files to cluster that have a label; files with a mask.
    bad
        Files that cannot be used, with reasons: of the sample, and those that need no reading to be told.
    seen
        What the pictures are like; None where none could be decoded.
    settings
        That a run would take.
    notes
        What else is to be told.
    forecast
        None where no run could start.
    error
        Why no run could start.
    """

    category: str
    n_files: int
    n_looked_at: int
    kinds: Mapping[tuple[str, str | None, str | None], int]
    n_labelled: int
    n_masks: int
    bad: tuple[SetAside, ...] = ()
    seen: Seen | None = None
    settings: tuple[Taken, ...] = ()
    notes: tuple[str, ...] = ()
    forecast: Forecast | None = None
    error: AnoclustError | None = None


@dataclass(frozen=True)
class DataCheck:
    """What was seen of a data set.

    Attributes
    ----------
    categories
        One each, in order of their names.
    seconds
        Of a run over all categories that could start, by what takes them; empty where they cannot be told.
    base_bytes
        Memory of the process before any stage.
    """

    categories: tuple[CategoryCheck, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    base_bytes: int = 0

    @property
    def total_seconds(self) -> float | None:
        """Seconds of the whole run, or None where they cannot be told."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def peak_bytes(self) -> int | None:
        """Largest memory of the run, or None where it cannot be told."""
        stages = [size for one in self.categories if one.forecast for size in one.forecast.memory.values()]
        return self.base_bytes + max(stages) if stages else None


def check_data(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    sample: int,
    categories: Sequence[str] = (),
    listener: Listener | None = None,
) -> DataCheck:
    """Look at a sample of every category and say what a run in a new store would make of it; nothing is stored.

    Parameters
    ----------
    data, categories
        As `flows.run.run_data` takes them.
    store
        Folder that holds no data even where it lies inside ``data``.
    config
        What a run would be asked for.
    sample
        Images of a category that are looked at, at most; which ones follows from the seed.
    listener
        Hears of progress: category, stage, done, total.

    Raises
    ------
    AnoclustError
        If the data or the settings are of no use for any category, as in the run.
    """
    # a file that may still be written is looked at as it is: a check has no need to wait
    config = _at_once(config).with_own({name: _at_once(own) for name, own in config.own.items()})
    chosen = choose_images(data, config, categories=categories, exclude=store)
    with tempfile.TemporaryDirectory(prefix="anoclust-check-") as folder:
        layout = StoreLayout(Path(folder))
        spec = embedding_spec(layout, config)
        checker = _Checker(config, layout, spec, sample, listener)
        found = tuple(checker.of(name).check(name, one) for name, one in chosen.items())
    return DataCheck(found, checker.seconds(found), checker.base_bytes)


def _at_once(config: RunConfig) -> RunConfig:
    """Settings that wait for no file."""
    return config.model_copy(update={"data": config.data.model_copy(update={"settle_seconds": 0.0})})


class _Checker:
    """Checks categories one after the other: they share the speed of the machine, and the network once converted."""

    def __init__(
        self, config: RunConfig, layout: StoreLayout, spec: EmbeddingSpec, sample: int, listener: Listener | None
    ) -> None:
        prepare_prefect(debug=False)
        with importing():
            # all that a run imports: its memory is a part of the forecast
            import matplotlib.pyplot  # noqa: F401
            import psutil

            import flows.cluster
            from anoclust_core.embedding import openvino  # noqa: F401
            from tasks.check import forecast, pictures
            from tasks.compute.dask_jobs import memory_budget
        assert flows.cluster  # noqa: S101
        self._pictures, self._forecast = pictures, forecast
        self._config, self._layout, self._spec, self._sample = config, layout, spec, sample
        self._listener: Listener = listener or (lambda *_: None)
        self.base_bytes = int(psutil.Process().memory_info().rss)
        self._budget = memory_budget(config.memory)
        self._max_pixels = min(MAX_PIXELS, self._budget // (2 * DECODE_BYTES_PER_PIXEL))
        self._speed: Speed = forecast.measure_speed()

    def of(self, category: str) -> _Checker:
        """Checker with the settings of a category."""
        own = copy(self)
        own._config = self._config.of(category)
        own._spec = embedding_spec(self._layout, own._config)
        return own

    def seconds(self, found: Sequence[CategoryCheck]) -> dict[str, float]:
        """Seconds of a run over all categories that could start; empty where those of one cannot be told."""
        forecasts = [one.forecast for one in found if one.forecast is not None]
        if not forecasts or not all(one.seconds for one in forecasts):
            return {}
        compares = any(one.seconds["comparing images"] > 0 for one in forecasts)
        total = Counter(self._forecast.fixed_seconds(self._speed, compares=compares))
        for one in forecasts:
            total.update(one.seconds)
        return dict(total)

    def check(self, category: str, chosen: Chosen) -> CategoryCheck:
        """Look at one category."""
        drawn = _drawn(chosen, self._sample, seed=self._config.seed)
        start = time.perf_counter()
        looked_at = read_files(category, drawn, self._config).manifest
        read_seconds = (time.perf_counter() - start) / max(1, len(drawn.files))
        deep, refused = self._ranges(looked_at), None
        try:
            deep = [asked_range(one, self._config.data.range) for one in deep]
        except ConfigError as error:
            refused = error
        total = len(looked_at.images)
        seen, bad = self._pictures.look_at_pictures(
            looked_at.images,
            deep=deep,
            max_pixels=self._max_pixels,
            progress=lambda done: self._listener(category, "look", done, total),
        )
        looked_at = looked_at.without(bad)
        whole = _whole(looked_at, chosen, drawn)
        to_cluster = [file for file, role in chosen.files if role == "cluster"]
        result = CategoryCheck(
            category=category,
            n_files=len(chosen.files),
            n_looked_at=len(drawn.files),
            kinds=Counter((role, file.split, file.label) for file, role in chosen.files),
            n_labelled=sum(file.label is not None for file in to_cluster),
            n_masks=sum(file.mask is not None for file, _ in chosen.files),
            bad=whole.quarantine,
            seen=seen,
            notes=(*looked_at.notes, *map(range_note, deep)),
        )
        if refused is not None:
            return replace(result, error=refused)
        try:
            return self._planned(result, looked_at, whole, read_seconds=read_seconds)
        except AnoclustError as error:
            return replace(result, error=error)

    def _planned(
        self, result: CategoryCheck, looked_at: DatasetManifest, whole: DatasetManifest, *, read_seconds: float
    ) -> CategoryCheck:
        """Settings and forecast; raises what keeps a run from starting."""
        most_bad = self._config.data.max_bad_share
        if looked_at.bad_share > most_bad:
            check_enough(looked_at, max_bad_share=most_bad)
        whole, looked_at = used_images(whole, self._config), used_images(looked_at, self._config)
        check_enough(whole, max_bad_share=most_bad)
        spec, steadiness = self._spec, None
        if self._config.embed.has_tiles:
            spec = tiled_spec(spec, self._config.embed, largest_frame(looked_at.images))
            found = result.seen.alignment if result.seen is not None else None
            steadiness = Steadiness.of(found, (SMALL_SIDE, SMALL_SIDE)) if found is not None else None
        if self._config.recipe != "blind":
            spec = aligned_spec(spec, self._config.pair, steadiness)
        check_number(spec, self._config.pair, steadiness)
        plan = plan_run(whole, self._config, spec)
        work = self._work(whole, plan)
        trial = self._forecast.try_embedding(
            looked_at.images,
            self._config,
            spec,
            file=self._layout.root / "network.onnx",
            n_images=work.n_embedded,
            memory_budget=self._budget,
            progress=lambda done, total: self._listener(result.category, "trial", done, total),
        )
        note = aligned_note(spec, self._config.pair, steadiness)
        settings = tuple(_settings(self._config, spec, whole, plan, trial, note))
        forecast = self._forecast_of(result, spec, work, trial, read_seconds=read_seconds)
        return replace(result, settings=settings, forecast=forecast)

    def _forecast_of(
        self, result: CategoryCheck, spec: EmbeddingSpec, work: Work, trial: Trial, *, read_seconds: float
    ) -> Forecast:
        if self._config.recipe == "blind":
            return Forecast({}, {}, "Recipe blind trains networks on the images: nothing is forecast of it.")
        largest = result.seen.largest_pixels if result.seen is not None else ()
        memory = self._forecast.forecast_memory(
            work, self._config, spec, trial, memory_budget=self._budget, largest_pixels=largest
        )
        if work.n_pairs and (self._config.pair.dask is not None or trial.device != "cpu"):
            where = "on the workers of a Dask scheduler" if self._config.pair.dask is not None else "on a GPU"
            return Forecast({}, memory, f"Images are compared {where}: how fast that is cannot be told.")
        seconds = self._forecast.forecast_seconds(work, spec, trial, self._speed, read_seconds=read_seconds)
        return Forecast(seconds, memory)

    def _ranges(self, listed: DatasetManifest) -> list[DeepRange]:
        """Ranges of deep pictures, as a run would take them from the files that were read."""
        found = []
        for kind in sorted({*listed.special.values()} - {MENDED}):
            images = [image for image in listed.images if listed.special.get(image.sha256) == kind]
            found.append(sampled_range(kind, images, max_pixels=self._max_pixels))
        return [one for one in found if one is not None]

    def _work(self, whole: DatasetManifest, plan: RunPlan) -> Work:
        slabs = NearestSlabs(self._layout.folder("nearest", whole.category, plan.images.distances))
        n_pairs = 0
        for reference in (plan.reference, plan.among):
            if reference is not None:
                with_means = reference is plan.among and self._config.group.distance == "mean_mean"
                n_pairs += slabs.count_missing(wanted_pairs(whole, reference, with_means=with_means))
        measured = plan.reference or plan.among
        return self._forecast.Work(
            n_files=whole.n_total,
            n_embedded=len(unique_contents(whole.images)[0]),
            n_images=len(whole.clustered),
            n_contents=len(unique_contents(whole.clustered)[0]),
            n_reference=len(reference_contents(measured, whole)[0]) if measured else 0,
            n_pairs=n_pairs,
            has_normals=measured is not None and measured.role == "normal",
            n_clusters=plan.n_clusters,
        )


def _drawn(chosen: Chosen, sample: int, *, seed: int) -> Chosen:
    """Files that are looked at: a seeded sample, in the order of all."""
    order = generator(seed, "check").permutation(len(chosen.files))[:sample]
    return replace(chosen, files=tuple(chosen.files[at] for at in sorted(order.tolist())))


def _whole(looked_at: DatasetManifest, chosen: Chosen, drawn: Chosen) -> DatasetManifest:
    """All images of a category, as a run would list them if those that were not read can be used and differ."""
    read = {id(file) for file, _ in drawn.files}
    unread = [(file, role) for file, role in chosen.files if id(file) not in read]
    images = [
        ImageRecord(
            path=file.path,
            file=str(file.file),
            sha256=hashlib.sha256(str(file.file).encode(errors="surrogateescape")).hexdigest(),
            role=role,
            split=file.split,
            label=file.label,
            mask=file.mask,
        )
        for file, role in unread
        if not file.refused
    ]
    refused = [SetAside(printable(file.path), file.refused, file.line) for file, _ in unread if file.refused]
    return replace(
        looked_at,
        images=tuple(sorted((*looked_at.images, *images), key=lambda image: image.path)),
        quarantine=tuple(sorted((*looked_at.quarantine, *refused), key=lambda entry: entry.path)),
        n_normals_given=sum(role == "normal" for _, role in chosen.files),
    )


def _settings(
    config: RunConfig, spec: EmbeddingSpec, whole: DatasetManifest, plan: RunPlan, trial: Trial, aligned: str | None
) -> Iterator[Taken]:
    """Settings that a run would take, and why."""
    recipes = {
        "auto": "describes the rare patches of each image at two feature levels",
        "sohn": "as published: compares the patches of all images",
        "blind": "as published: an anomaly map from each image alone, and a contrastive head",
    }
    yield Taken("recipe", config.recipe, recipes[config.recipe])
    rows, columns = spec.grid
    what = f"every image becomes {rows} x {columns} patches of {spec.dim} numbers"
    yield Taken("image size", f"{spec.image_size}", what)
    if spec.resize != "squash":
        how = {"pad": "and mirrors the picture into what is missing", "crop": "and sees the middle of a picture only"}
        yield Taken("resize", spec.resize, f"keeps the proportions, {how[spec.resize]}")
    if config.data.range != "auto":
        yield Taken("range", config.data.range, "these values are black and white in pictures of more than 8 bits")
    if spec.tiles:
        yield Taken("tiles", f"{spec.tiles[0]}x{spec.tiles[1]}", "every frame is cut into so many rows and columns")
    if aligned:
        yield Taken("aligned", "false" if spec.aligned_within is None else "true", aligned)
    engine = "OpenVINO" if trial.network.is_converted else "torch"
    yield Taken("backbone", spec.backbone, f"computed by {engine} on {trial.device}")
    n_normals = len(whole.normals)
    if config.weigh.maps:
        yield Taken("weights", config.weigh.weights, "the maps say where to look; no images are compared")
    elif config.recipe == "blind":
        yield Taken("normals", "none", "recipe blind uses none")
    elif n_normals:
        yield Taken("normals", f"{n_normals:,}", "an image is rare where it differs from these known normals")
    else:
        yield Taken("normals", "none", "an image is rare where it differs from the other images")
    for note in reference_note(plan.reference, whole) if plan.reference else []:
        yield Taken("reference", f"{plan.reference.size:,}" if plan.reference and plan.reference.size else "", note)
    n_clusters = f"{plan.n_clusters:,}" if plan.n_clusters else config.group.n_clusters or "auto"
    yield Taken("clusters", str(n_clusters), plan.n_clusters_rule)
    n_labelled = sum(image.label is not None for image in whole.clustered)
    scored = f"agreement with the {n_labelled:,} labels is told" if n_labelled else "no labels: nothing to agree with"
    yield Taken("protocol", config.protocol, scored)


def as_json(found: DataCheck) -> dict[str, Any]:
    """Everything that was seen, as JSON values."""
    return {
        "categories": [_category_json(one) for one in found.categories],
        "forecast": {
            "seconds": found.total_seconds,
            "seconds_by_part": dict(found.seconds),
            "peak_memory_bytes": found.peak_bytes,
            "base_memory_bytes": found.base_bytes,
        },
    }


def _category_json(one: CategoryCheck) -> dict[str, Any]:
    seen = one.seen
    return {
        "category": one.category,
        "files": one.n_files,
        "looked_at": one.n_looked_at,
        "kinds": [
            {"role": role, "split": split, "label": label, "files": count}
            for (role, split, label), count in one.kinds.items()
        ],
        "labelled": one.n_labelled,
        "masks": one.n_masks,
        "unusable": [{"path": entry.path, "reason": entry.told} for entry in one.bad],
        "pictures": None if seen is None else _pictures_json(seen),
        "settings": [{"name": taken.name, "value": taken.value, "why": taken.why} for taken in one.settings],
        "notes": list(one.notes),
        "forecast": None
        if one.forecast is None
        else {
            "seconds_by_part": dict(one.forecast.seconds),
            "memory_bytes_by_stage": dict(one.forecast.memory),
            "left_out": one.forecast.why_not or None,
        },
        "error": str(one.error) if one.error else None,
        "exit_code": one.error.exit_code if one.error else 0,
    }


def _pictures_json(seen: Seen) -> dict[str, Any]:
    found = seen.alignment
    return {
        "decoded": seen.n_pictures,
        "smallest": list(seen.sizes[0]),
        "largest": list(seen.sizes[1]),
        "sizes": seen.n_sizes,
        "longest_side": seen.longest,
        "formats": dict(seen.formats),
        "depths": dict(seen.depths),
        "colours": dict(seen.colours),
        "with_alpha": seen.n_alpha,
        "turned_by_exif": seen.n_turned,
        "brightness": dict(zip(("darkest", "median", "brightest"), seen.brightness, strict=True)),
        "black_share": seen.black,
        "white_share": seen.white,
        "exact_copies": seen.n_copies,
        "near_duplicates": None if seen.near_duplicates is None else [list(paths) for paths in seen.near_duplicates],
        "alignment": None
        if found is None
        else {
            "verdict": found.verdict,
            "agreement": found.as_they_lie,
            "agreement_shifted": found.shifted,
            "largest_shift_pixels": seen.shift,
        },
    }
