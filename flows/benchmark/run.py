"""The benchmark: data sets x methods under a named protocol, laid beside the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.evaluation.protocols import ARDELEAN, Protocol, protocol_named
from anoclust_core.records import REGION_COLUMN, DatasetManifest
from flows.benchmark.request import (
    ABLATION_NAMES,
    ARDELEAN_FIGURES,
    ARDELEAN_TABLES,
    BACKBONE_FIGURES,
    DEEP_TABLES,
    EXPERIMENT_OF_FIGURE,
    RECIPES,
    REFERENCE_EXPERIMENTS,
    BackboneJob,
    BenchmarkRequest,
    BlindJob,
    check_request,
)
from flows.decoding import settled_spec
from flows.prefect_server.around import kept_if_complete, with_prefect
from tasks import telemetry
from tasks.images.listing import check_enough, is_enough, list_datasets
from tasks.networks.backbone_spec import embedding_spec, last_layer_spec
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.manifests import save_manifest
from tasks.stores.upkeep.recover import sweep


def run_benchmark(
    data: Sequence[Path],
    store: Path,
    config: RunConfig,
    request: BenchmarkRequest,
    out: Path,
    *,
    listener: telemetry.Listener | None = None,
    say: Callable[[str], None] | None = None,
    debug: bool = False,
) -> Path:
    """Measure every category of some data sets and write tables and figures.

    Everything is cached by key: after a stop the same command goes on, another table computes only what is new.

    Parameters
    ----------
    data
        Folders or manifests; every image needs a label.
    store
        Where embeddings, distances and results are kept.
    config
        Backbone and data settings, and those of recipe blind for tables of [ARDELEAN24]. All categories are measured
        with the same: what one category has of its own is left out, and told.
    request
        What to show.
    out
        Folder for ``benchmark.md``, CSV and PNG files.
    listener
        Hears of progress: category, stage, done, total.
    say
        Is told which settings are left out, and what deep clustering will take before it begins.
    debug
        Let Prefect write its log to the console.

    Returns
    -------
    page
        ``benchmark.md``.

    Raises
    ------
    AnoclustError
        If the data, the settings or the memory do not allow it.
    """
    check_request(request)
    say = say or (lambda _: None)
    layout = StoreLayout(store.absolute())
    own, config = config.own, config.with_own({})
    listed = _listed(data, config, store, listener)
    left_out = _left_out_note(own, listed)
    if left_out:
        say(left_out)
    manifests = _kept(listed, config, protocol_named(request.protocol)) if request.experiments else {}
    is_blind = any(request.of_ardelean)
    blind_manifests = _kept([one.blind() for one in listed], config, ARDELEAN) if is_blind else {}
    config = _as_the_papers(config)
    jobs = [_job(layout, config, request.experiments, request.as_published)] if request.experiments else []
    if BACKBONE_FIGURES & set(request.figures):
        compared = tuple(
            dict.fromkeys(EXPERIMENT_OF_FIGURE[number] for number in request.figures if number in BACKBONE_FIGURES)
        )
        for name in request.backbones:
            if name != config.embed.backbone:
                embed = config.embed.model_copy(update={"backbone": name})
                jobs.append(_job(layout, config.model_copy(update={"embed": embed}), compared))

    with ExitStack() as stack:
        for category in sorted({*manifests, *blind_manifests}):
            stack.enter_context(category_lock(layout, category, wait_seconds=config.wait_seconds))
            sweep(layout, category)
        for manifest in listed:
            settled_spec(layout, manifest, embedding_spec(layout, config), config)
        paths = {category: str(save_manifest(layout, manifest)) for category, manifest in manifests.items()}
        blind = _blind_job(layout, config, request, blind_manifests) if is_blind else None
        if request.deep:
            from flows.benchmark.deep import check_plans

            planned = [(job, protocol_named(request.protocol), manifests) for job in jobs[:1]]
            if blind and blind.reference:
                planned.append((blind.reference, ARDELEAN, blind_manifests))
            check_plans(layout, planned, say)
        stack.enter_context(telemetry.recording(listener))
        stack.enter_context(with_prefect(debug))
        from flows.benchmark.flow import benchmark

        return Path(
            kept_if_complete(
                "benchmark",
                "the benchmark",
                lambda: benchmark(paths, str(layout.root), jobs, blind, request, str(out.absolute())),
            )
        )


def _as_the_papers(config: RunConfig) -> RunConfig:
    """Settings without those of runs that the papers know nothing of."""
    # Hausdorff distances and the mean distance of two images are made of all their patches
    pair = config.pair.model_copy(update={"reference_patches": "all"})
    weigh = config.weigh.model_copy(update={"weights": "rarity"})
    group = config.group.model_copy(update={"by": "image"})
    return config.model_copy(update={"recipe": "sohn", "pair": pair, "weigh": weigh, "group": group})


def _listed(
    data: Sequence[Path],
    config: RunConfig,
    store: Path,
    listener: telemetry.Listener | None,
) -> list[DatasetManifest]:
    """Images of every category; categories of two data sets need two names."""
    found: dict[str, DatasetManifest] = {}
    for path in data:
        listed = list_datasets(
            path,
            config,
            exclude=store,
            waits=lambda manifest: not is_enough(manifest, max_bad_share=config.data.max_bad_share),
            listener=listener,
        )
        for manifest in listed:
            if manifest.category in found:
                raise DatasetError(f"category {manifest.category} is in two of the data sets; rename one of the two")
            if any(REGION_COLUMN in image.extra for image in manifest.images):
                raise DatasetError(
                    f"the benchmark looks at whole pictures, as the papers do; omit the column {REGION_COLUMN} of "
                    f"{path}"
                )
            found[manifest.category] = manifest
    return list(found.values())


def _left_out_note(own: Mapping[str, RunConfig], listed: Iterable[DatasetManifest]) -> str:
    """Which categories have settings of their own that are left out; empty where none has."""
    names = ", ".join(sorted({manifest.category for manifest in listed} & own.keys()))
    return (
        f"all categories are measured with the same settings; what is set for {names} alone is left out"
        if names
        else ""
    )


def _kept(manifests: Iterable[DatasetManifest], config: RunConfig, protocol: Protocol) -> dict[str, DatasetManifest]:
    """Images of every category that the protocol clusters; all of them need labels."""
    found = {}
    for manifest in manifests:
        kept = manifest.keeping(protocol.keeps_for_clustering)
        check_enough(kept, max_bad_share=config.data.max_bad_share)
        _check_labels(kept)
        found[manifest.category] = kept
    return found


def _blind_job(
    layout: StoreLayout, config: RunConfig, request: BenchmarkRequest, manifests: dict[str, DatasetManifest]
) -> BlindJob:
    tables, figures = request.of_ardelean
    experiments = [ARDELEAN_TABLES[table] for table in tables] + [ARDELEAN_FIGURES[figure] for figure in figures]
    beside = [name for table in tables for name in REFERENCE_EXPERIMENTS.get(table, ())]
    beside += request.deep if set(tables) & set(DEEP_TABLES) else ()
    blind = config.model_copy(update={"recipe": "blind"})
    return BlindJob(
        config=blind,
        spec=embedding_spec(layout, blind),
        experiments=tuple(dict.fromkeys(experiments)),
        reference=_job(layout, config, dict.fromkeys(beside), request.as_published) if beside else None,
        manifests={category: str(save_manifest(layout, manifest)) for category, manifest in manifests.items()},
        detectors=request.detectors,
    )


def _check_labels(manifest: DatasetManifest) -> None:
    without = sorted(image.path for image in manifest.clustered if image.label is None)
    if without:
        raise DatasetError(
            f"the benchmark needs a label for every image; {len(without)} of category {manifest.category} have none "
            f"(first: {without[0]}); give a manifest with the column label, or use the layout CATEGORY/test/LABEL"
        )


def _job(layout: StoreLayout, config: RunConfig, experiments: Iterable[str], as_published: bool = False) -> BackboneJob:
    wanted = tuple(experiments)
    last = last_layer_spec(layout, config) if "holistic" in wanted else None
    in_levels = config.model_copy(update={"recipe": "auto"})
    levels = embedding_spec(layout, in_levels) if {*ABLATION_NAMES, RECIPES} & set(wanted) else None
    return BackboneJob(config, embedding_spec(layout, config), last, wanted, levels, as_published)
