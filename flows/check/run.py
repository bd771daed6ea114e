"""A check before the first run: what is in a data set, what settings a run would take, and what it would cost."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import DeepRange, asked_range, range_note
from anoclust_core.embedding.fixed_camera import Steadiness, aligned_note, aligned_spec, check_number
from anoclust_core.embedding.tiles import tiled_spec
from anoclust_core.errors import AnoclustError, ConfigError
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, SetAside, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.covers import covered_spec
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.regions import region_note
from flows.check.found import CategoryCheck, DataCheck, Forecast
from flows.check.taken import taken_settings
from flows.plan import RunPlan, plan_run, used_images
from flows.prefect_server.around import importing, prepare_prefect
from flows.regions import with_regions
from tasks.images.category_decoding import sampled_range
from tasks.images.category_frames import MEASURED, SMALL_SIDE, largest_frame
from tasks.images.choosing import Chosen, choose_images
from tasks.images.decoding import pixels_within
from tasks.images.folders import printable
from tasks.images.headers import MENDED
from tasks.images.listing import check_enough, read_files
from tasks.networks.backbone_spec import embedding_spec
from tasks.networks.detectors import detector_of
from tasks.stores.layout import StoreLayout
from tasks.stores.nearest import NearestSlabs, wanted_pairs
from tasks.stores.regions import regions_of
from tasks.telemetry import Listener

if TYPE_CHECKING:
    from tasks.check.forecast import DetectorTrial, Speed, Trial, Work


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
        checker = _Checker(data, config, layout, spec, sample, listener)
        found = tuple(checker.of(name).check(name, one) for name, one in chosen.items())
    return DataCheck(found, checker.seconds(found), checker.base_bytes)


def _at_once(config: RunConfig) -> RunConfig:
    """Settings that wait for no file."""
    return config.model_copy(update={"data": config.data.model_copy(update={"settle_seconds": 0.0})})


class _Checker:
    """Checks categories one after the other: they share the speed of the machine, and the network once converted."""

    def __init__(
        self,
        data: Path,
        config: RunConfig,
        layout: StoreLayout,
        spec: EmbeddingSpec,
        sample: int,
        listener: Listener | None,
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
        self._data, self._config, self._layout, self._spec, self._sample = data, config, layout, spec, sample
        self._listener: Listener = listener or (lambda *_: None)
        self.base_bytes = int(psutil.Process().memory_info().rss)
        self._budget = memory_budget(config.memory)
        self._max_pixels = pixels_within(self._budget)
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
        compiles = any(one.compiles for one in forecasts)
        total = Counter(self._forecast.fixed_seconds(self._speed, compiles=compiles))
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
        total, start = len(looked_at.images), time.perf_counter()
        seen, bad = self._pictures.look_at_pictures(
            looked_at.images,
            deep=deep,
            max_pixels=self._max_pixels,
            progress=lambda done: self._listener(category, "look", done, total),
        )
        look_seconds = (time.perf_counter() - start) / max(1, total)
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
            return self._planned(result, looked_at, whole, (read_seconds, look_seconds))
        except AnoclustError as error:
            return replace(result, error=error)

    def _planned(
        self, result: CategoryCheck, looked_at: DatasetManifest, whole: DatasetManifest, seconds: tuple[float, float]
    ) -> CategoryCheck:
        """Settings and forecast; raises what keeps a run from starting. ``seconds``: of reading a file, and a look."""
        most_bad, known_bad = self._config.data.max_bad_share, set(looked_at.quarantine)
        looked_at, spec = with_regions(self._layout, self._data, looked_at, self._spec, self._config)
        misfits = (entry for entry in looked_at.quarantine if entry not in known_bad)
        result = replace(result, bad=(*result.bad, *misfits))
        if looked_at.bad_share > most_bad:
            check_enough(looked_at, max_bad_share=most_bad)
        whole, looked_at = used_images(whole, self._config), used_images(looked_at, self._config)
        check_enough(whole, max_bad_share=most_bad)
        steadiness = None
        if self._config.embed.has_tiles:
            frame = largest_frame(looked_at.images)
            spec = tiled_spec(spec, self._config.embed, frame)
            found = result.seen.alignment if result.seen is not None else None
            if found is not None:
                steadiness = Steadiness.of(found, (SMALL_SIDE, SMALL_SIDE)).seen_by(spec, frame)
        if self._config.recipe != "blind":
            spec = covered_spec(aligned_spec(spec, self._config.pair, steadiness), self._config)
        check_number(spec, self._config.pair, steadiness)
        regions = regions_of(self._layout, looked_at.images, spec)[0]
        told = region_note(regions, [image.sha256 for image in looked_at.images])
        result = replace(result, notes=(*result.notes, *([told] if told else [])))
        spec = replace(spec, detector=detector_of(self._config, result.category))
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
        detector = self._forecast.try_detector(
            looked_at.clustered, spec, n_images=work.n_contents, memory_budget=self._budget
        )
        note = aligned_note(spec, self._config.pair, steadiness)
        settings = tuple(taken_settings(self._config, spec, whole, plan, trial, note))
        forecast = self._forecast_of(result, spec, work, trial, seconds)
        if detector is not None:
            forecast = _with_detector(forecast, detector, work)
        return replace(result, settings=settings, forecast=forecast)

    def _forecast_of(
        self, result: CategoryCheck, spec: EmbeddingSpec, work: Work, trial: Trial, each: tuple[float, float]
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
        read_seconds, look_seconds = each
        seconds = self._forecast.forecast_seconds(
            work, spec, trial, self._speed, read_seconds=read_seconds, look_seconds=look_seconds
        )
        return Forecast(seconds, memory, compiles=work.n_pairs > 0 and spec.window is None)

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
            n_sampled=MEASURED if self._config.embed.has_tiles and self._config.pair.aligned is None else 0,
        )


def _with_detector(forecast: Forecast, detector: DetectorTrial, work: Work) -> Forecast:
    """Forecast with what the maps of a detector take."""
    seconds = {
        "maps of the detector": detector.setup_seconds + work.n_contents * detector.image_seconds,
        **forecast.seconds,
    }
    memory = {detector.memory.stage: detector.memory.total, **forecast.memory}
    return replace(forecast, seconds=seconds if forecast.seconds else {}, memory=memory)


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
            extra=file.extra,
            part=file.part,
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
