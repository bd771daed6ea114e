"""The benchmark's part for [ARDELEAN24]: recipe blind under every setting that a table varies.

Every setting goes through the stages of an ordinary run, so that one that a run has had is not computed again, and a
row is what that run gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from anoclust_core.benchmark.blind import (
    ABLATION,
    ABLATIONS,
    AS_THEY_ARE,
    CLUSTERING,
    CLUSTERINGS,
    DETECTORS,
    HEAD,
    LOCALIZATION,
    REFERENCE,
    TEMPERATURES,
    THRESHOLD_RULES,
    THRESHOLDS,
    WARD_AND_K_MEANS,
    taus_of_curve,
)
from anoclust_core.benchmark.published_ardelean import FCA, FCA_VAE, OURS
from anoclust_core.benchmark.scoring import TRIVIAL, Measurement
from anoclust_core.benchmark.tables_ardelean import BlindSetting
from anoclust_core.clustering.methods import CLUSTERINGS as ALL_CLUSTERINGS
from anoclust_core.config import RunConfig
from anoclust_core.evaluation.protocols import ARDELEAN, n_classes
from anoclust_core.records import ArrayHandle, Detector
from flows.benchmark.deep import described
from flows.benchmark.request import BenchmarkRequest, BlindJob, measure_key
from flows.benchmark.sohn import MeasuredRows, measure_pairwise
from flows.decoding import kept_spec
from flows.detectors import training_note
from flows.stages import EmbeddedImages, describe_blindly, detect_images, embed_images, localize_blindly
from tasks.benchmark.ardelean import measure_descriptors, measure_detected, measure_maps, measure_temperatures
from tasks.compute.dask_jobs import memory_budget
from tasks.networks.detectors import detector_of, model_in
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import StageRunner
from tasks.stores.addresses import with_home
from tasks.stores.files import sha256_file
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import describe_key, detected_key, embedding_keys, localize_key

_REFERENCE_METHODS: Final = ("average", "max-hausdorff", "weighted")
"""Rows of [SOHN23] that Table 1 shows."""


@dataclass(frozen=True)
class _Category:
    """One category whose feature maps are there, and how it goes through the stages of recipe blind."""

    run: CategoryRun
    embedded: EmbeddedImages
    side: int
    detectors: str = ""

    @property
    def config(self) -> RunConfig:
        return self.run.config

    @property
    def labels(self) -> list[str | None]:
        return [image.label for image in self.embedded.images.clustered]

    def with_settings(self, blind: Mapping[str, object], *, tau: str | None = None) -> RunConfig:
        """Settings of a run with other values for some of recipe blind's settings, or for the temperature."""
        update: dict[str, Any] = {"blind": self.config.blind.model_copy(update=dict(blind))}
        if tau:
            update["weigh"] = self.config.weigh.model_copy(update={"tau": tau})
        return self.config.model_copy(update=update)

    def maps_key(self, config: RunConfig) -> str:
        return localize_key(embedding_keys(self.embedded.images, self.run.spec), self.embedded.images, config)

    def localized(self, config: RunConfig) -> ArrayHandle:
        """Raw anomaly maps of a run with these settings."""
        return localize_blindly(self._stages(config), self.embedded, key=self.maps_key(config))

    def described(
        self, config: RunConfig, *, method: str, setting: str = "", clusterings: tuple[str, ...] = WARD_AND_K_MEANS
    ) -> list[Measurement]:
        """Scores of the descriptors of a run with these settings, under the names that a table gives them."""
        classes = n_classes(ARDELEAN, self.labels)
        maps_key = self.maps_key(config)
        key = describe_key(maps_key, config, n_classes=classes)
        run_stage = self._stages(config)
        described = describe_blindly(
            run_stage, self.embedded, localize_key=maps_key, describe_key=key, n_classes=classes
        )
        rows = run_stage(
            measure_descriptors,
            key=self._measure_key("descriptors", describe=key, clusterings=clusterings),
            detail=" ".join(filter(None, (method, setting))),
            is_complete=True,
            manifest=self.embedded.manifest,
            described=described,
            clusterings=clusterings,
        )
        return [row if row.clustering == TRIVIAL else replace(row, method=method, setting=setting) for row in rows]

    def located(self, config: RunConfig, *, method: str) -> list[Measurement]:
        """Scores of the anomaly maps of a run with these settings."""
        parts = {"finished": self._finished_key(config), "method": method, "side": self.side}
        return self._stages(config)(
            measure_maps,
            key=self._measure_key("maps", masks=self._masks, **parts),
            detail=method,
            is_complete=True,
            manifest=self.embedded.manifest,
            maps=self.localized(config),
            method=method,
            side=self.side,
        )

    def detected(self, detector: Detector, *, method: str) -> list[Measurement]:
        """Scores of the maps of a detector that was trained before."""
        run = replace(self.run, spec=replace(self.run.spec, detector=detector))
        run_stage, category = StageRunner(run), self.run.category
        detect_images(run_stage, self.embedded.images)
        key = detected_key(run.spec)
        return run_stage(
            measure_detected,
            key=self._measure_key(
                "detected", embedding=self._embedding, masks=self._masks, detected=key, method=method, side=self.side
            ),
            detail=method,
            is_complete=True,
            manifest=self.embedded.manifest,
            detected=str(run.layout.folder("detected", category, key)),
            method=method,
            side=self.side,
        )

    def detector_of(self, method: str) -> Detector | None:
        """Detector of a method that was trained for this category, if one was."""
        folder = with_home(self.detectors) / method
        if not self.detectors or model_in(folder, self.run.category) is None:
            return None
        weigh = self.config.weigh.model_copy(update={"weights": f"detector:{folder}"})
        return detector_of(self.config.model_copy(update={"weigh": weigh}), self.run.category)

    def without_head(self, config: RunConfig, taus: tuple[str, ...]) -> list[Measurement]:
        """Scores of plain descriptors at every temperature; nothing is trained, so one task makes them all."""
        return self._stages(config)(
            measure_temperatures,
            key=self._measure_key("temperatures", finished=self._finished_key(config), taus=taus),
            detail=f"{len(taus)} temperatures",
            is_complete=True,
            manifest=self.embedded.manifest,
            embeddings=self.embedded.embeddings,
            maps=self.localized(config),
            taus=taus,
        )

    @property
    def _embedding(self) -> str:
        """Key of the images and of what is seen of each."""
        return embedding_keys(self.embedded.images, self.run.spec).embed

    @property
    def _masks(self) -> list[str | None]:
        """Digest of every image's mask."""
        return [sha256_file(Path(image.mask)) if image.mask else None for image in self.embedded.images.clustered]

    def _stages(self, config: RunConfig) -> StageRunner:
        """Runs the stages with other settings."""
        return StageRunner(replace(self.run, config=config))

    def _finished_key(self, config: RunConfig) -> str:
        """Key of plain descriptors, and so of all that finished maps depend on."""
        plain = self.with_settings({**config.blind.model_dump(), "contrastive": False}, tau=config.weigh.tau)
        return describe_key(self.maps_key(config), plain, n_classes=None)

    def _measure_key(self, what: str, **parts: object) -> str:
        shared = {"labels": self.labels, "protocol": ARDELEAN.name, "seed": self.config.seed}
        return measure_key(f"ardelean {what}", **shared, **parts)


def measure_blind(layout: StoreLayout, job: BlindJob) -> tuple[MeasuredRows, BlindSetting]:
    """Measure what the tables and figures need; gives their rows, and how they came about.

    The rows of [SOHN23] beside them are measured under the same protocol, on the same images. They alone need pairs.
    """
    results: MeasuredRows = {}
    taus: dict[str, str] = {}
    n_images: dict[str, int] = {}
    scored: dict[str, set[str]] = {}
    memory = memory_budget(job.config.memory)
    for category, manifest in job.manifests.items():
        run = CategoryRun(layout, category, job.config, kept_spec(layout, category, job.spec, job.config), memory)
        embedded = embed_images(StageRunner(run), manifest)
        side = job.reference.spec.image_size if job.reference else job.spec.image_size
        found = _Category(run, embedded, side, job.detectors)
        results[category] = {name: _EXPERIMENTS[name](found) for name in job.experiments}
        n_images[category] = len(embedded.images.clustered)
        scored[category] = {image.sha256 for image in embedded.images.clustered}
    if job.reference:
        # no experiment of these draws subsets: the number, part of their keys, is the same for all requests
        request = BenchmarkRequest(ARDELEAN.name, (), (), n_subsets=2, backbones=(), methods=_REFERENCE_METHODS)
        measured = measure_pairwise(layout, job.manifests, job.reference, request)
        for category, experiments in measured.results.items():
            results[category] |= {REFERENCE + name: rows for name, rows in experiments.items()}
        if "distances" in job.reference.experiments:
            taus = {category: told for category, (_, _, told) in measured.taus.items()}
    reference = job.reference.spec if job.reference else None
    deep = described(job.reference) if job.reference else ""
    trained, given = _how_trained(job.detectors, scored)
    return results, BlindSetting(
        job.config.blind, job.config.weigh.tau, job.spec, reference, taus, n_images, deep, trained, given
    )


def _clustering(category: _Category) -> list[Measurement]:
    return category.described(category.with_settings(ABLATIONS[OURS]), method=OURS)


def _localization(category: _Category) -> list[Measurement]:
    rows = []
    for method, vae in ((FCA, False), (FCA_VAE, True)):
        rows += category.located(category.with_settings({"vae": vae}), method=method)
        if category.config.blind.flat_field:
            config = category.with_settings({"vae": vae, "flat_field": False})
            rows += category.located(config, method=method + AS_THEY_ARE)
    for name, title in DETECTORS.items():
        detector = category.detector_of(name)
        if detector is not None:
            rows += category.detected(detector, method=title)
    return rows


def _how_trained(folder: str, scored: Mapping[str, Set[str]]) -> tuple[dict[str, str], frozenset[str]]:
    """How the detectors of a folder were trained, in words, by their titles in the table; and which know normals."""
    found: dict[str, str] = {}
    given = set()
    for name, title in DETECTORS.items() if folder else ():
        told = []
        for category, contents in scored.items():
            file = model_in(with_home(folder) / name, category)
            if file is None:
                continue
            note = training_note(file)
            again = len(contents & note.images) if note.on_normals else 0
            told.append(f"{note.text}{f', {again:,} of them scored here' if again else ''}")
            if note.on_normals:
                given.add(title)
        if told:
            found[title] = "; ".join(dict.fromkeys(told))
    return found, frozenset(given)


def _ablation(category: _Category) -> list[Measurement]:
    rows = []
    for method, settings in ABLATIONS.items():
        rows += category.described(category.with_settings(settings), method=method)
    return _with_one_trivial(rows)


def _clusterings(category: _Category) -> list[Measurement]:
    config = category.with_settings(ABLATIONS[OURS])
    return category.described(config, method=OURS, clusterings=tuple(ALL_CLUSTERINGS))


def _thresholds(category: _Category) -> list[Measurement]:
    rows = []
    for rule in THRESHOLD_RULES:
        config = category.with_settings({**ABLATIONS[OURS], "threshold": rule})
        rows += category.described(config, method=OURS, setting=rule)
    return [row for row in rows if row.clustering != TRIVIAL]


def _temperatures(category: _Category) -> list[Measurement]:
    taus = taus_of_curve(category.config.weigh.tau)
    rows = category.without_head(category.with_settings({"vae": True}), taus)
    for tau in taus:
        config = category.with_settings(ABLATIONS[OURS], tau=tau)
        rows += category.described(config, method=HEAD, setting=tau)
    return [row for row in rows if row.clustering != TRIVIAL]


def _with_one_trivial(rows: list[Measurement]) -> list[Measurement]:
    """Leave the trivial partitions out of all settings but the first: they are the same."""
    return [row for at, row in enumerate(rows) if row.clustering != TRIVIAL or row not in rows[:at]]


_EXPERIMENTS: Final[Mapping[str, Callable[[_Category], list[Measurement]]]] = MappingProxyType(
    {
        CLUSTERING: _clustering,
        LOCALIZATION: _localization,
        ABLATION: _ablation,
        CLUSTERINGS: _clusterings,
        THRESHOLDS: _thresholds,
        TEMPERATURES: _temperatures,
    }
)
